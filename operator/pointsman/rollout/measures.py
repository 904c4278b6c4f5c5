"""What metrics say of a policy's rollout: a snapshot of its status. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from pointsman.api.v1alpha1.status import Outcome, StepName

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import RoutingPolicyStatus

STEPS: Final[tuple[str, ...]] = get_args(StepName)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

GAUGES: Final = {
    "pointsman_rollout_weight_permille": "Share of the traffic that the candidate takes, in permille.",
    "pointsman_rollout_step": f"Step of the rollout, counted from 0: {', '.join(STEPS)}.",
    "pointsman_rollout_held": "1 while the step waits for a person: paused, inconclusive, awaiting approval.",
    "pointsman_rollout_samples": "Scored answers of the candidate under the rubric that has most of them.",
    "pointsman_rollout_worst_drop_permille": "Measured drop of the worst stream, in permille.",
    "pointsman_rollout_expected_hours": "Hours to promotion at the present rate; -1 where unknown.",
}
"""Name and help of each gauge; labels are namespace and policy."""

ENDED: Final = "pointsman_rollout_ended_total"
"""Counter of ended rollouts; labels are namespace, policy and outcome."""


def gauges(status: RoutingPolicyStatus) -> dict[str, float]:
    """Return the value of every gauge of `GAUGES`."""
    rollout, step, verdicts = status.rollout, status.step, status.verdicts
    live = rollout is not None and rollout.ended_at is None and bool(rollout.steps)
    weight = rollout.steps[-1].weight_permille if rollout is not None and live else 0
    hours = step.expected_hours if step is not None and live else None
    return {
        "pointsman_rollout_weight_permille": float(weight),
        "pointsman_rollout_step": float(STEPS.index(step.name if step is not None else "Stable")),
        "pointsman_rollout_held": float(step is not None and step.state not in {"Running", "Done"}),
        "pointsman_rollout_samples": float(max((v.candidate for v in verdicts), default=0)),
        "pointsman_rollout_worst_drop_permille": float(verdicts[0].drop_permille if verdicts else 0),
        "pointsman_rollout_expected_hours": _number(hours),
    }


def ended(old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> tuple[Outcome, ...]:
    """Return the outcomes of the rollouts that a status write ended."""
    before, after = old.rollout, new.rollout
    if after is None:
        return ()
    found: list[Outcome] = []
    same = before is not None and before.id == after.id
    if before is not None and not same and before.ended_at is None:
        found.append("Superseded")
    was_over = before is not None and same and before.ended_at is not None
    if after.outcome is not None and not was_over:
        found.append(after.outcome)
    return tuple(found)


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else -1.0
    except ValueError:
        return float("inf")
