"""Requests as clients sent them, for minutes, in memory alone: what classifiers and replays must be given.

What is stored is redacted; a replay of a redacted request would be another request. Never logged, never
written, gone with the process.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 128 << 20
MOST_S: Final = 120.0


class Bodies:
    """Bodies by (policy, request id), bounded in bytes and in age; the oldest go first."""

    def __init__(
        self,
        most_bytes: int = MOST_BYTES,
        most_s: float = MOST_S,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_bytes = most_bytes
        self._most_s = most_s
        self._now = monotonic
        self._held: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        self.bytes = 0

    def put(self, policy: str, request_id: str, body: bytes) -> None:
        """Hold a body; one that is held already stays."""
        key = policy, request_id
        if key not in self._held:
            self._held[key] = self._now(), body
            self.bytes += len(body)
        self._trim()

    def get(self, policy: str, request_id: str) -> bytes | None:
        """Return a body; None if it is not, or no longer, held."""
        self._trim()
        found = self._held.get((policy, request_id))
        return found[1] if found else None

    def clear(self) -> None:
        """Hold nothing: somebody's session was deleted, and whose a body is, is not known here."""
        self._held.clear()
        self.bytes = 0

    def _trim(self) -> None:
        oldest = self._now() - self._most_s
        while self._held:
            at, body = next(iter(self._held.values()))
            if at >= oldest and self.bytes <= self._most_bytes:
                return
            self._held.popitem(last=False)
            self.bytes -= len(body)
