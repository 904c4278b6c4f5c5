"""Single looks at a server, without patience of their own: what readiness and health are made of."""

from __future__ import annotations

import contextlib
import http.client
import ssl

TIMEOUT_S = 2.0


def http_get(address: str, path: str, tls: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """GET `path` from `host:port`; return status and body, or (0, b"") when nobody answers in time."""
    connection = (
        http.client.HTTPConnection(address, timeout=TIMEOUT_S)
        if tls is None
        else http.client.HTTPSConnection(address, timeout=TIMEOUT_S, context=tls)
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def http_ok(address: str, path: str, tls: ssl.SSLContext | None = None) -> bool:
    """Say whether `path` answers 200."""
    return http_get(address, path, tls)[0] == http.HTTPStatus.OK
