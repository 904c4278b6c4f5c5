"""What can go wrong when one talks to the API server, as exceptions that callers tell apart."""

from __future__ import annotations

import json
from typing import Any


class KubeError(Exception):
    """The API server refused. `status`: HTTP code; `reason`: machine-readable word of `metav1.Status`."""

    def __init__(self, what: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{what}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(KubeError):  # noqa: N818 - named as Kubernetes names it
    """404: no such object (or no such kind)."""


class Conflict(KubeError):  # noqa: N818 - named as Kubernetes names it
    """409: the object changed since it was read. Read it again and decide again."""


class AlreadyExists(KubeError):  # noqa: N818 - named as Kubernetes names it
    """409 on create: an object of that name is there."""


class Gone(KubeError):  # noqa: N818 - named as Kubernetes names it
    """410: the resourceVersion is too old to watch from. List again."""


class Invalid(KubeError):  # noqa: N818 - named as Kubernetes names it
    """422: admission refused the object; `message` says which field and why."""


class Unavailable(KubeError):  # noqa: N818 - named as Kubernetes names it
    """No answer within the deadline: connection refused or lost, time-out, or 429/5xx until the end."""


class NotLeading(KubeError):  # noqa: N818 - as the others
    """Nothing was sent: this process may no longer write, another one leads or may soon."""


_BY_STATUS: dict[int, type[KubeError]] = {404: NotFound, 409: Conflict, 410: Gone, 422: Invalid}
TOO_MANY = 429
SERVER_ERRORS = 500


def refusal(what: str, status: int, body: bytes) -> KubeError:
    """Return the exception for an HTTP error; `body` is a `metav1.Status` in JSON, or anything."""
    detail = _status_of(body)
    reason = str(detail.get("reason") or "Unknown")
    message = str(detail.get("message") or body[:200].decode("utf-8", "replace"))
    if reason == "AlreadyExists":
        return AlreadyExists(what, status, reason, message)
    if reason == "Expired":  # a list's continue token, or a watch's start, was compacted away
        return Gone(what, status, reason, message)
    if status == TOO_MANY or status >= SERVER_ERRORS:
        return Unavailable(what, status, reason, message)
    return _BY_STATUS.get(status, KubeError)(what, status, reason, message)


def _status_of(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
