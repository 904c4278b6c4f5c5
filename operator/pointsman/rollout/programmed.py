"""What several xds servers say of one policy, summed up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import AcceptedReason, ProgrammedReason, find
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.observation import Programmed, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy

Traffic = tuple[tuple[str, int], ...]
"""(revision, weight in permille), sorted."""

_STRONG: Final[Traffic] = ((ALWAYS_STRONG, 1000),)
_REFUSALS: Final = {reason.value: reason for reason in AcceptedReason if reason.status == "False"}
_XDS_REFUSALS: Final = (
    AcceptedReason.HOST_CONFLICT,
    AcceptedReason.GATEWAY_NOT_FOUND,
    AcceptedReason.NAMESPACE_NOT_ALLOWED,
    AcceptedReason.TIER_HOST_NOT_ALLOWED,
    AcceptedReason.SECRET_FORBIDDEN,
)
"""What nobody but an xds server knows, and what does not pass by itself while it is away."""
_TROUBLE: Final = frozenset({ProgrammedReason.QUARANTINED, ProgrammedReason.REVISION_NOT_FOUND})
_PASSING: Final = frozenset({ProgrammedReason.PENDING, ProgrammedReason.NO_ENVOY})
"""What is said for a moment while Envoys go from one xds server to another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one xds server says of a policy."""

    generation: int
    programmed: bool
    reason: str
    message: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Report:
    """One xds server's word on one policy's gateway. `error`: why there is none."""

    url: str
    error: str | None = None
    asked: bool = True
    """False: nothing is known yet, right after a start."""
    envoys: int = 0
    entry: Entry | None = None


def programmed(policy: RoutingPolicy, reports: Sequence[Report]) -> tuple[Programmed, Refusal | None]:
    """Return the `Programmed` condition, and why the policy is not accepted, if it is not.

    Servers that no Envoy of the gateway is connected to have no say, unless none has one.
    """
    heard = [report for report in reports if report.error is None]
    if not heard:
        remembered = None if all(report.asked for report in reports) else _remembered(policy)
        if remembered is not None:
            return remembered, _known_refusal(policy)
        told = "; ".join(f"{report.url}: {report.error}" for report in reports) or "none is configured"
        return Programmed(ProgrammedReason.XDS_UNREACHABLE, told), _known_refusal(policy)
    current = [r.entry for r in heard if r.entry and r.entry.generation >= policy.metadata.generation]
    for entry in current:
        if entry.reason in _REFUSALS:
            refusal = Refusal(_REFUSALS[entry.reason], entry.message)
            return Programmed(ProgrammedReason.NOT_ACCEPTED, entry.message), refusal
    connected = [report for report in heard if report.envoys > 0]
    if not connected:
        trouble = [entry for entry in current if entry.reason in _TROUBLE]
        return (_of(trouble[0]) if trouble else Programmed(ProgrammedReason.NO_ENVOY)), None
    verdicts = [_verdict(policy, report) for report in connected]
    return next((v for v in verdicts if v.reason != ProgrammedReason.ACKNOWLEDGED), verdicts[0]), None


@dataclass(slots=True)
class _Known:
    what: tuple[object, ...]
    lost_at: float | None = None


@dataclass(slots=True)
class Steady:
    """Remembers what was acknowledged: while only servers change, it holds for `grace_s`. Pure.

    An Envoy keeps what it has when its server goes, and acknowledges it anew to the next one. Never held is
    what nothing was acknowledged about: another generation, other traffic, a rollout's next step.
    """

    grace_s: float
    _known: dict[str, _Known] = field(default_factory=dict)

    def __call__(self, policy: RoutingPolicy, found: Programmed, now: float) -> tuple[Programmed, float]:
        """Return what to believe at `now` (s), and for how long at most: 0, if it may be for ever."""
        rollout = policy.status.rollout
        step = (rollout.id, len(rollout.steps)) if rollout is not None else ()
        what = (policy.metadata.uid, policy.metadata.generation, traffic_in_force(policy), step)
        if found.reason == ProgrammedReason.ACKNOWLEDGED:
            self._known[policy.key] = _Known(what)
            return found, 0.0
        known = self._known.get(policy.key)
        if known is None:
            return found, 0.0
        if known.what != what or found.reason not in _PASSING:
            self.forget(policy.key)
            return found, 0.0
        known.lost_at = now if known.lost_at is None else known.lost_at
        left = known.lost_at + self.grace_s - now
        if left <= 0:
            self.forget(policy.key)
            return found, 0.0
        return Programmed(ProgrammedReason.ACKNOWLEDGED), left

    def forget(self, key: str) -> None:
        """Forget a policy."""
        self._known.pop(key, None)


def _verdict(policy: RoutingPolicy, report: Report) -> Programmed:
    entry = report.entry
    if entry is None or entry.generation < policy.metadata.generation:
        return Programmed(ProgrammedReason.PENDING)
    if entry.programmed and entry.traffic != traffic_in_force(policy):
        return Programmed(ProgrammedReason.PENDING)
    return _of(entry)


def traffic_in_force(policy: RoutingPolicy) -> Traffic:
    """Return the traffic that the status stands for: an empty one is always-strong."""
    shares = sorted((s.revision, s.weight_permille) for s in policy.status.traffic if s.weight_permille)
    return tuple(shares) or _STRONG


def _of(entry: Entry) -> Programmed:
    known = next((reason for reason in ProgrammedReason if reason == entry.reason), None)
    if known is not None:
        return Programmed(known, entry.message)
    # a newer xds server's word
    reason = ProgrammedReason.ACKNOWLEDGED if entry.programmed else ProgrammedReason.PENDING
    return Programmed(reason, f"{entry.reason}: {entry.message}")


def _remembered(policy: RoutingPolicy) -> Programmed | None:
    """Return what the status says: it holds until the servers have been asked."""
    told = find(policy.status.conditions, "Programmed")
    if told is None or told.observed_generation != policy.metadata.generation:
        return None
    reason = next((known for known in ProgrammedReason if known == told.reason), None)
    return Programmed(reason, told.message) if reason is not None else None


def _known_refusal(policy: RoutingPolicy) -> Refusal | None:
    """Return what xds servers last had against this very spec, while nobody can be asked."""
    accepted = find(policy.status.conditions, "Accepted")
    reason = next((each for each in _XDS_REFUSALS if accepted is not None and each == accepted.reason), None)
    if accepted is None or reason is None or accepted.observed_generation != policy.metadata.generation:
        return None
    return Refusal(reason, accepted.message)
