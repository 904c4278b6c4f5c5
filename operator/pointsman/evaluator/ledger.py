"""How many requests Envoys served that never reached the store. Pure.

Envoy counts its finished requests (`downstream_rq_total - downstream_rq_active`: one for each entry, also
where the client left before an answer); the store counts what it holds of each Envoy. A look at Envoy makes
a mark. An entry belongs to the mark if its request had ended by then; some seconds later, when what was in
flight has arrived, what the mark still lacks is lost.

In doubt a request counts as in flight, not as lost: under steady traffic the loss lags by what is served in
about a second, and is exact once traffic pauses. What was lost between the last look at an Envoy and its
death is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class NodeState:
    """One Envoy (one start of it), as it is stored."""

    node: str
    received: int = 0
    """Requests in the store."""
    finished: int = 0
    """Envoy's own count at the last look."""
    base: int = 0
    """What Envoy had counted before it set its counter back."""
    lost: int = 0
    seen_us: int = 0
    """When an entry or a look last spoke of it."""


@dataclass(slots=True)
class _Mark:
    at_us: int
    horizon_us: int
    finished: int
    counted: int


@dataclass(slots=True)
class _Node:
    state: NodeState
    marks: list[_Mark] = field(default_factory=list)


class Ledger:
    """The count of each node, and its open marks."""

    def __init__(self, states: Iterable[NodeState] = ()) -> None:
        self._nodes = {state.node: _Node(state) for state in states}
        self._changed: set[str] = set()

    @property
    def states(self) -> tuple[NodeState, ...]:
        """Every node's state, by node id."""
        return tuple(self._nodes[name].state for name in sorted(self._nodes))

    def take_changed(self) -> tuple[NodeState, ...]:
        """Return the nodes that were looked at since the last call: what is to be stored."""
        names, self._changed = sorted(self._changed), set()
        return tuple(self._nodes[name].state for name in names)

    def stored(self, node: str, ends_us: Iterable[int], now_us: int) -> None:
        """Take note of requests that are in the store now, by when they ended (Envoy's clock)."""
        entry = self._node(node)
        ends = tuple(ends_us)
        state = entry.state
        entry.state = replace(state, received=state.received + len(ends), seen_us=now_us)
        for mark in entry.marks:
            mark.counted += sum(end <= mark.horizon_us for end in ends)

    def looked(self, node: str, finished: int, now_us: int, horizon_us: int) -> None:
        """Take note of a look: what Envoy had finished. Whatever ended by `horizon_us` may be part of it."""
        entry = self._node(node)
        state = entry.state
        base = state.base
        if finished < state.finished:  # somebody reset Envoy's counters
            base += state.finished
            entry.marks.clear()
        entry.state = state = replace(state, finished=finished, base=base, seen_us=now_us)
        self._changed.add(node)
        entry.marks.append(_Mark(now_us, horizon_us, base + finished, state.received))

    def load(self, states: Iterable[NodeState]) -> None:
        """Begin again with what is stored: somebody else has looked at the Envoys until now."""
        self._nodes = {state.node: _Node(state) for state in states}
        self._changed.clear()

    def due(self, now_us: int, grace_us: int) -> list[tuple[str, int]]:
        """Return the marks that `settle` would close, as (node, horizon)."""
        return [
            (entry.state.node, mark.horizon_us)
            for entry in self._nodes.values()
            for mark in entry.marks
            if mark.at_us + grace_us <= now_us
        ]

    def settle(self, now_us: int, grace_us: int, arrived: Mapping[tuple[str, int], int] | None = None) -> int:
        """Close the marks that are `grace_us` old; return how many more requests are lost than was known.

        `arrived`: by (node, horizon), how many requests the store has that ended by then, where not we alone
        store them.
        """
        more = 0
        for entry in self._nodes.values():
            due = [mark for mark in entry.marks if mark.at_us + grace_us <= now_us]
            entry.marks = [mark for mark in entry.marks if mark not in due]
            lost = max((mark.finished - _counted(entry, mark, arrived) for mark in due), default=0)
            if lost > entry.state.lost:
                more += lost - entry.state.lost
                entry.state = replace(entry.state, lost=lost)
                self._changed.add(entry.state.node)
        return more

    def expire(self, before_us: int) -> None:
        """Drop nodes of which nothing was heard since then."""
        for name in [name for name, entry in self._nodes.items() if entry.state.seen_us < before_us]:
            del self._nodes[name]
            self._changed.discard(name)

    def _node(self, name: str) -> _Node:
        return self._nodes.setdefault(name, _Node(NodeState(name)))


def _counted(entry: _Node, mark: _Mark, arrived: Mapping[tuple[str, int], int] | None) -> int:
    return mark.counted if arrived is None else arrived[entry.state.node, mark.horizon_us]
