"""Which requests a replay tier really answered: what counts of others are held against. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Self

from pointsman.contract import SHADOW_ID_PREFIX, Header

_KEPT: Final = 1_000_000
CLIENT_LEFT: Final = 499
"""Status of a request whose client hung up before its answer was whole."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the tier saw it."""

    id: str
    """`x-request-id`; "" where it had none."""
    status: int
    shadow: bool
    """A replay of the evaluator's, not a client's request."""

    @classmethod
    def of(cls, headers: Mapping[str, str], status: int) -> Self:
        """Read the request's id from its headers."""
        identity = headers.get(Header.REQUEST_ID.value, "")
        return cls(identity, status, identity.startswith(SHADOW_ID_PREFIX))


class Ledger:
    """Every request since the start or the last `clear`; of a million and more, the latest million."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._by_status: Counter[int] = Counter()
        self._shadow = 0

    def add(self, entry: Entry) -> None:
        """Write down one request."""
        self._entries.append(entry)
        self._by_status[entry.status] += 1
        self._shadow += entry.shadow

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._by_status.clear()
        self._shadow = 0

    def shown(self, *, with_entries: bool, after: int = 0) -> dict[str, Any]:
        """Return it as JSON values: counts of all, and the entries after the first `after`, in order."""
        shown: dict[str, Any] = {
            "count": self._by_status.total(),
            "shadow": self._shadow,
            "byStatus": {str(status): count for status, count in sorted(self._by_status.items())},
        }
        if with_entries:
            gone = self._by_status.total() - len(self._entries)
            shown["entries"] = [asdict(entry) for entry in islice(self._entries, max(0, after - gone), None)]
        return shown
