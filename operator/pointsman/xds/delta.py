"""The delta xDS protocol for one stream, as a state machine: requests in, responses out. No I/O, no clock.

Make before break: secrets and clusters first; when they are acknowledged, listeners; then routes; when those
are, and requests that chose by the old routes are over, removals. One response per type is under way at a
time, so what piles up meanwhile goes out as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.xds.types import ADDED_FIRST, CLUSTER, LISTENER, ROUTE, SECRET, SHADOW_ROUTES, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pointsman.xds.snapshot import Snapshot, Versioned

WILDCARD: Final = "*"
WILDCARD_TYPES: Final = (LISTENER, CLUSTER)
"""Envoy has all of them; of the others it names those that it needs."""
_ABSENT: Final = ""
"""The client was told that there is no such resource."""
_UNSURE: Final = "?"
"""The client may or may not have applied what it was sent: it refused the response as a whole."""


class ProtocolError(Exception):
    """The client asks for more than one Envoy ever would; the stream ends."""


MOST_NAMES: Final = 100_000
"""Names that one stream may subscribe to: bounds our memory against a client gone wrong."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. What no acknowledgement tells us, waited for."""

    warm: float = 0.3
    """A new cluster that asks DNS is acknowledged before it is usable: routes follow this much later."""
    patience: float = 2.0
    """How long routes wait for Envoy to ask for a secret that its clusters name."""
    retry: float = 10.0
    """What was refused for no policy's fault (a port that is taken, say) is sent again after this."""
    linger: float = 30.0
    """A request keeps the routes that it began with: what those name is removed this much later."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A `DeltaDiscoveryRequest`. `error` is Envoy's words in a NACK."""

    type_url: str
    nonce: str = ""
    error: str | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A `DeltaDiscoveryResponse`, made for snapshot `target`."""

    type_url: str
    nonce: str
    target: str
    resources: tuple[tuple[str, Versioned], ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Envoy's answer to a response. `error` is None in an ACK; `names` is what the response carried."""

    type_url: str
    target: str
    error: str | None
    names: frozenset[str]


@dataclass(slots=True)
class _Flight:
    """A response without an answer yet."""

    nonce: str
    target: str
    sent: dict[str, str]
    removed: set[str]
    warms: bool


@dataclass(slots=True)
class _Type:
    """What we know of one type on the stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    flight: _Flight | None = None
    greeted: bool = False
    """A wildcard's first response is sent, even an empty one: Envoy starts up only after it."""

    def forget(self, name: str) -> None:
        """Know nothing of the client's copy, whatever is under way."""
        self.known.pop(name, None)
        if self.flight is not None:
            self.flight.sent.pop(name, None)

    def wanted(self, have: Mapping[str, Versioned]) -> Iterator[tuple[str, Versioned]]:
        """Yield what of a snapshot is subscribed to."""
        for name, resource in have.items():
            if self.wildcard or name in self.names:
                yield name, resource

    def behind(self, have: Mapping[str, Versioned]) -> list[tuple[str, Versioned]]:
        """Return what the client wants and does not have in this version."""
        return [(name, new) for name, new in self.wanted(have) if self.known.get(name) != new.version]


class DeltaStream:
    """One Envoy's stream. Call `receive` for each request and `retarget` for each snapshot, then `pump`."""

    def __init__(self, timing: Timing | None = None) -> None:
        self._timing = timing or Timing()
        self._types: dict[str, _Type] = {}
        self._target: Snapshot | None = None
        self._nonce = 0
        self._held_until: float | None = None
        self._warm_at = 0.0
        self._asked_by: float | None = None
        self._remove_at: float | None = None
        self._unasked: set[str] = set()
        self.applied: str | None = None
        """Version of the target once the client has it wholly, removals aside; None until then."""
        self.due: float | None = None
        """When to call `pump` again though nothing happened."""

    def retarget(self, target: Snapshot) -> None:
        """From now on bring the client to this snapshot."""
        if self._target is not None and target.version == self._target.version:
            return
        self._target = target
        self._held_until = None
        self._asked_by = self._remove_at = self.applied = None

    def receive(self, request: Incoming, now: float) -> Verdict | None:
        """Take one request; return what it says about an earlier response, if it does."""
        if request.type_url not in TYPES:
            return None
        first = request.type_url not in self._types
        state = self._types.setdefault(request.type_url, _Type())
        verdict = self._answered(request, state, now) if request.nonce else None
        self._subscribe(request, state, first=first)
        return verdict

    def _answered(self, request: Incoming, state: _Type, now: float) -> Verdict | None:
        """Book an ACK or NACK; an outdated nonce says nothing."""
        flight = state.flight
        if flight is None or flight.nonce != request.nonce:
            return None
        state.flight = None
        if request.error is None:
            state.known.update(flight.sent)
            for name in flight.removed:
                state.known.pop(name, None)
                if name in state.names:
                    state.known[name] = _ABSENT
            if flight.warms and ROUTE in self._types:  # at its start Envoy waits by itself
                self._warm_at = now + self._timing.warm
        else:
            # Envoy may have taken the good part of it: send all of it again, whatever the target will be.
            state.known.update(dict.fromkeys((*flight.sent, *flight.removed), _UNSURE))
            if self._target is not None and flight.target == self._target.version:
                self._held_until = now + self._timing.retry
        names = frozenset(flight.sent) | flight.removed
        return Verdict(request.type_url, flight.target, request.error, names)

    @staticmethod
    def _subscribe(request: Incoming, state: _Type, *, first: bool) -> None:
        if first:
            state.known.update(request.initial)
            state.wildcard = request.type_url in WILDCARD_TYPES and not request.subscribe
        state.wildcard |= WILDCARD in request.subscribe
        for name in request.subscribe:
            if name == WILDCARD:
                continue
            state.names.add(name)
            if not (first and name in request.initial):
                state.forget(name)  # a client that asks again has dropped its copy
        state.wildcard &= WILDCARD not in request.unsubscribe
        for name in request.unsubscribe:
            state.names.discard(name)
            state.forget(name)
            if state.wildcard:
                state.known[name] = _UNSURE
        if len(state.names) + len(state.known) > MOST_NAMES:
            raise ProtocolError(f"more than {MOST_NAMES} names of {request.type_url}")

    def pump(self, now: float) -> list[Outgoing]:
        """Return what to send now, in order."""
        self.due = None
        if self._target is None:
            return []
        if self._held_until is not None and now < self._held_until:
            self.due = self._held_until
            return []
        self._held_until = None
        out: list[Outgoing] = []
        for stage in ADDED_FIRST:
            out += [response for t in stage for response in self._updates(t, self._target)]
            if any(self._open(t, self._target) for t in stage):
                self._asked_by = self._remove_at = None
                return out
        if not self._usable(self._target, now):
            self._remove_at = None
            return out
        out += self._updates(ROUTE, self._target)
        if self._open(ROUTE, self._target):
            self._remove_at = None
            return out
        if self._complete(self._target):
            self.applied = self._target.version
        return out + self._removals(self._target, now)

    def _updates(self, type_url: str, target: Snapshot) -> Iterator[Outgoing]:
        state = self._types.get(type_url)
        if state is None or state.flight is not None:
            return
        have = target.of(type_url)
        new = state.behind(have)
        missing = tuple(sorted(n for n in state.names if n not in have and n not in state.known))
        if not new and not missing and (state.greeted or not state.wildcard or state.known):
            return
        yield self._send(type_url, state, target, tuple(new), missing)

    def _open(self, type_url: str, target: Snapshot) -> bool:
        """Tell whether the client has yet to get or to acknowledge something of this type."""
        state = self._types.get(type_url)
        return state is not None and (state.flight is not None or bool(state.behind(target.of(type_url))))

    def _usable(self, target: Snapshot, now: float) -> bool:
        """Tell whether what has been acknowledged for new routes can also be used."""
        if now < self._warm_at:
            self.due = self._warm_at
            return False
        asked = self._types[SECRET].names if SECRET in self._types else set()
        waited = target.of(SECRET).keys() - asked - self._unasked
        if not waited:
            return True
        if self._asked_by is None:
            self._asked_by = now + self._timing.patience
        if now < self._asked_by:
            self.due = self._asked_by
            return False
        self._unasked = target.of(SECRET).keys() - asked
        return True

    def _complete(self, target: Snapshot) -> bool:
        """Tell whether the client has subscribed to everything; an Envoy that starts does so step by step."""
        routes = self._types.get(ROUTE)
        return (
            CLUSTER in self._types
            and LISTENER in self._types
            and routes is not None
            and all(name in routes.names for name in target.of(ROUTE) if name != SHADOW_ROUTES)
        )

    def _removals(self, target: Snapshot, now: float) -> list[Outgoing]:
        gone = {
            t: self._gone(t, target) for t in WILDCARD_TYPES
        }  # the others Envoy unsubscribes from by itself
        if not any(gone.values()):
            return []
        if self._remove_at is None:
            self._remove_at = now + self._timing.linger
        if now < self._remove_at:
            self.due = self._remove_at
            return []
        return [
            self._send(t, self._types[t], target, (), tuple(names))
            for t, names in gone.items()
            if names and self._types[t].flight is None
        ]

    def _gone(self, type_url: str, target: Snapshot) -> list[str]:
        state = self._types.get(type_url)
        if state is None or state.flight is not None:
            return []
        have = target.of(type_url)
        return sorted(n for n, version in state.known.items() if n not in have and version != _ABSENT)

    def _send(
        self,
        type_url: str,
        state: _Type,
        target: Snapshot,
        new: tuple[tuple[str, Versioned], ...],
        removed: tuple[str, ...],
    ) -> Outgoing:
        self._nonce += 1
        state.greeted = True
        state.flight = _Flight(
            nonce=str(self._nonce),
            target=target.version,
            sent={name: resource.version for name, resource in new},
            removed=set(removed),
            warms=any(resource.warms and name not in state.known for name, resource in new),
        )
        return Outgoing(type_url, state.flight.nonce, target.version, new, removed)
