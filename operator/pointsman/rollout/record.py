"""The lasting record of an attempt, for the revision's own status. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.api.v1alpha1.revision import AttemptRecord
from pointsman.api.v1alpha1.status import StepStatus
from pointsman.rollout.moments import moment, unix
from pointsman.rollout.words import percent

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus
    from pointsman.rollout.observation import Kept, Observation

_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """A record that is due, and the revision that it belongs to."""

    kept: Kept
    record: AttemptRecord

    @property
    def patch(self) -> dict[str, Any]:
        """The status to merge into the revision's: newest first, one record an attempt."""
        older = [known for known in self.kept.status.attempts if known.rollout.id != self.record.rollout.id]
        attempts = [self.record, *older][:_KEPT]
        return {"attempts": [attempt.to_kube() for attempt in attempts]}


def recording(o: Observation, status: RoutingPolicyStatus, now: datetime) -> Recording | None:
    """Return the record that `status` leaves due: its rollout has ended, and the candidate lacks it."""
    rollout = status.rollout
    if rollout is None or rollout.ended_at is None:
        return None
    kept = o.find(rollout.candidate)
    if kept is None or any(_same(known.rollout, rollout) for known in kept.status.attempts):
        return None
    return Recording(kept, record(status, rollout, now))


def record(status: RoutingPolicyStatus, rollout: RolloutStatus, now: datetime) -> AttemptRecord:
    """Return what is kept of an attempt that has ended."""
    during = [a for a in status.last_actions if unix(a.at) >= unix(rollout.started_at)]
    return AttemptRecord(
        rollout=rollout,
        last_step=_last_step(rollout),
        verdicts=status.verdicts,
        noise=status.noise,
        actions=during,
        recorded_at=moment(now),
    )


def _same(known: RolloutStatus, rollout: RolloutStatus) -> bool:
    return known.id == rollout.id and known.ended_at == rollout.ended_at


def _last_step(rollout: RolloutStatus) -> StepStatus | None:
    """Return the step that the rollout ended in: the one before the entry that its end added."""
    steps = [step for step in rollout.steps if step.name != "RolledBack"]
    if rollout.outcome == "Promoted":
        steps = steps[:-1] or steps
    if not steps:
        return None
    last = steps[-1]
    display = f"{last.name} · {percent(last.weight_permille)}" if last.weight_permille else last.name
    return StepStatus(
        name=last.name,
        index=last.index,
        state="Done",
        started_at=last.started_at,
        because=rollout.because,
        display=display,
    )
