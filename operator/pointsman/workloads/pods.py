"""What ails the pods of a Deployment, in the words of who saw it: kubelet, scheduler, controllers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Raw = Mapping[str, Any]

GRACE: Final = timedelta(seconds=30)
"""How long a container may run before not being ready is a trouble."""
_LONGEST: Final = 500
_IMAGE: Final = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


class Cause(StrEnum):
    """Why too few pods are ready, gravest first."""

    QUOTA_EXCEEDED = "QuotaExceeded"
    """No pod can be made: a ResourceQuota of the namespace is used up."""
    PODS_REFUSED = "PodsRefused"
    """No pod can be made: admission (Pod Security, a webhook, a LimitRange) refuses it."""
    IMAGE = "ImagePullBackOff"
    INIT_FAILED = "InitContainerFailed"
    CRASHING = "CrashLoopBackOff"
    CONTAINER_REFUSED = "ContainerRefused"
    """The node cannot make the container: a missing key, a file system, the runtime itself."""
    UNSCHEDULABLE = "Unschedulable"
    NOT_READY = "NotReady"


_ORDER: Final = tuple(Cause)


@dataclass(frozen=True, slots=True)
class Trouble:
    """The gravest cause and its words."""

    cause: Cause
    words: str


def trouble(pods: Iterable[Raw], deployment: Raw | None, now: datetime) -> Trouble | None:
    """Return what keeps pods from being ready, the gravest; None: nothing is known.

    Pods that end are left out: they are not coming back.
    """
    found: list[tuple[int, str, Trouble]] = []
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        one = of_pod(pod, now)
        if one is not None:
            found.append((_ORDER.index(one.cause), str(pod["metadata"]["name"]), one))
    refused = _refused(deployment)
    if refused is not None:
        found.append((_ORDER.index(refused.cause), "", refused))
    if not found:
        return None
    found.sort(key=lambda entry: entry[:2])
    (_, pod_name, gravest), alike = found[0], [f for f in found if f[2].cause == found[0][2].cause]
    others = f" (and {len(alike) - 1} more)" if len(alike) > 1 else ""
    where = f"pod {pod_name}{others}: " if pod_name else ""
    return Trouble(gravest.cause, _cut(where + gravest.words))


def of_pod(pod: Raw, now: datetime) -> Trouble | None:
    """Return what ails one pod."""
    status = pod.get("status") or {}
    for entry in status.get("initContainerStatuses") or ():
        told = _of_container(entry, init=True)
        if told is not None:
            return told
    for entry in status.get("containerStatuses") or ():
        told = _of_container(entry, init=False)
        if told is not None:
            return told
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble(Cause.UNSCHEDULABLE, str(scheduled.get("message") or "no node fits"))
    if conditions.get("Ready", {}).get("status") != "True":
        return _not_ready(status, now)
    return None


def _of_container(entry: Raw, *, init: bool) -> Trouble | None:
    name, state = entry.get("name"), entry.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason = str(waiting.get("reason", ""))
    if reason in _IMAGE:
        return Trouble(Cause.IMAGE, f"{entry.get('image')}: {waiting.get('message') or reason}")
    if reason in _CONFIG:
        return Trouble(Cause.CONTAINER_REFUSED, f"container {name}: {waiting.get('message') or reason}")
    last = ended or (entry.get("lastState") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff" or ended.get("exitCode"):
        cause = Cause.INIT_FAILED if init else Cause.CRASHING
        return Trouble(cause, f"container {name} ended with {_end(last)}")
    return None


def _end(last: Raw) -> str:
    """Say how a container ended, in words that stay the same from one restart to the next."""
    reason = last.get("reason")
    told = f"{last.get('exitCode', 'an unknown code')}"
    told += f" ({reason})" if reason not in {None, "Error", "Completed"} else ""
    said = str(last.get("message") or "").strip().splitlines()
    return f"{told}: {said[-1]}" if said else told


def _not_ready(status: Raw, now: datetime) -> Trouble | None:
    for entry in status.get("containerStatuses") or ():
        started = ((entry.get("state") or {}).get("running") or {}).get("startedAt")
        if not entry.get("ready") and started and now - moment(started) > GRACE:
            return Trouble(Cause.NOT_READY, f"container {entry.get('name')} runs and is not ready")
    return None


def _refused(deployment: Raw | None) -> Trouble | None:
    """Return why the pods of a Deployment cannot even be made."""
    for entry in ((deployment or {}).get("status") or {}).get("conditions") or ():
        if entry["type"] == "ReplicaFailure" and entry["status"] == "True":
            words = str(entry.get("message") or entry.get("reason"))
            over = "exceeded quota" in words
            return Trouble(Cause.QUOTA_EXCEEDED if over else Cause.PODS_REFUSED, words)
    return None


def moment(text: str) -> datetime:
    """Return a time as the API server writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
