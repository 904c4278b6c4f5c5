"""What waits for the store: bounded in number and in bytes, for the store may be away for long."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pointsman.evaluator.evidence import ScoreRow
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.rows import CaptureRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.cases import CaseItem

MOST_ROWS: Final = 50_000
"""Some minutes of requests of one Envoy: what a busy disk may delay."""
MOST_BYTES: Final = 128 << 20
"""Of text: as many requests with theirs may be gigabytes."""
BATCH_ROWS: Final = 2000
BATCH_BYTES: Final = 8 << 20
"""What one transaction writes lies in the store's log and in the store at once: there must be room."""

Item: TypeAlias = "AccessRecord | CaptureRow | ScoreRow | CaseItem"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An item, and since when it waits (monotonic)."""

    item: Item
    since: float

    @property
    def size(self) -> int:
        """Bytes of text, about."""
        return len(self.item.kept.text) if isinstance(self.item, CaptureRow) else 0


class Intake:
    """A queue of items, and those that are being written."""

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self.writing: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: Item) -> bool:
        """Take an item; False: there is no room. Scores find room always: their requests are stored."""
        waiting = Waiting(item, time.monotonic())
        size = waiting.size
        full = len(self._queue) >= MOST_ROWS or (size and self._bytes + size > MOST_BYTES)
        if full and not isinstance(item, ScoreRow):
            return False
        self._queue.append(waiting)
        self._bytes += size
        return True

    def next(self) -> list[Item]:
        """Begin to write the next batch; at least one item, if there is any."""
        self.writing, size = [], 0
        while self._queue and len(self.writing) < BATCH_ROWS and size < BATCH_BYTES:
            waiting = self._queue.popleft()
            self._bytes -= waiting.size
            size += waiting.size
            self.writing.append(waiting)
        return [waiting.item for waiting in self.writing]

    @property
    def age_s(self) -> float:
        """Age of the oldest item that is neither stored nor dropped."""
        oldest = self.writing[:1] or ([self._queue[0]] if self._queue else [])
        return time.monotonic() - oldest[0].since if oldest else 0.0

    def requests(self) -> Iterator[AccessRecord]:
        """Yield the requests that are neither stored nor dropped."""
        for waiting in (*self.writing, *self._queue):
            if isinstance(waiting.item, AccessRecord):
                yield waiting.item
