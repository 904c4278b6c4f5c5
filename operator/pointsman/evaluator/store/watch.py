"""Cuts a connection whose server says nothing: libpq waits for an answer as long as TCP lives."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    import psycopg


class Watch:
    """Of one connection at a time. One timer is enough: it is set anew when it goes off, not by each use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: tuple[psycopg.Connection[Any], float] | None = None
        self._armed = False

    @contextmanager
    def within(self, connection: psycopg.Connection[Any], deadline_s: float) -> Iterator[None]:
        """Cut the connection unless this is left in time; what waits for it then fails."""
        with self._lock:
            self._watched = connection, time.monotonic() + deadline_s
            if not self._armed:
                self._arm(deadline_s)
        try:
            yield
        finally:
            with self._lock:
                self._watched = None

    def _arm(self, seconds: float) -> None:
        self._armed = True
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        with self._lock:
            self._armed = False
            if self._watched is None:
                return
            connection, end = self._watched
            left_s = end - time.monotonic()
            if left_s > 0:
                self._arm(left_s)
            else:
                _cut(connection)


def _cut(connection: psycopg.Connection[Any]) -> None:
    """End both directions of its socket: whoever waits for it wakes with an error."""
    with suppress(OSError, ValueError), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
