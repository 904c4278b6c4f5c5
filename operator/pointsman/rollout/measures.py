"""What metrics say of a policy's rollout: a snapshot of its status. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from pointsman.api.conditions import ConditionType, find
from pointsman.api.v1alpha1.status import Outcome, StepName
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.moments import unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus

STEPS: Final[tuple[str, ...]] = get_args(StepName)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

GAUGES: Final = {
    "pointsman_policy_ready": "1 where the traffic goes as this generation of the spec says.",
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

KEPT_S: Final = 15 * 60
"""How long after a rollout's end its verdicts are shown: the one that decided comes with the end itself."""


class Shown(NamedTuple):
    """A family of gauges whose labels, beside namespace and policy, change with the status."""

    name: str
    help: str
    labels: tuple[str, ...]


UNREADY: Final = Shown(
    "pointsman_policy_unready",
    "1 for each condition of a policy that is not True; gone when it is.",
    ("condition", "status", "reason"),
)
INFO: Final = Shown(
    "pointsman_rollout_info",
    "1 for where a policy is; outcome and candidate of what was refused stay until something new begins.",
    ("stable", "rollout", "candidate", "step", "state", "outcome"),
)
BOUND: Final = Shown(
    "pointsman_verdict_permille",
    "The worst verdicts of a rollout: drop as measured, low and high of its interval, the margins "
    "fail_beyond and pass_within. Gone 15 minutes after its end.",
    ("rollout", "stage", "rubric", "intent", "bound"),
)
SAMPLES: Final = Shown(
    "pointsman_verdict_samples",
    "Scored answers of each arm under the worst verdicts of a rollout. Gone 15 minutes after its end.",
    ("rollout", "stage", "rubric", "intent", "arm"),
)
SHOWN: Final = (UNREADY, INFO, BOUND, SAMPLES)


class Sample(NamedTuple):
    """One series of a family: values of the family's labels, and its number."""

    family: Shown
    labels: tuple[str, ...]
    value: float = 1.0


def gauges(status: RoutingPolicyStatus) -> dict[str, float]:
    """Return the value of every gauge of `GAUGES`."""
    rollout, step, verdicts = status.rollout, status.step, status.verdicts
    live = rollout is not None and rollout.ended_at is None and bool(rollout.steps)
    weight = rollout.steps[-1].weight_permille if rollout is not None and live else 0
    hours = step.expected_hours if step is not None and live else None
    ready = find(status.conditions, ConditionType.READY)
    return {
        "pointsman_policy_ready": float(ready is not None and ready.status == "True"),
        "pointsman_rollout_weight_permille": float(weight),
        "pointsman_rollout_step": float(STEPS.index(step.name if step is not None else "Stable")),
        "pointsman_rollout_held": float(step is not None and step.state not in {"Running", "Done"}),
        "pointsman_rollout_samples": float(max((v.candidate for v in verdicts), default=0)),
        "pointsman_rollout_worst_drop_permille": float(verdicts[0].drop_permille if verdicts else 0),
        "pointsman_rollout_expected_hours": _number(hours),
    }


def states(status: RoutingPolicyStatus) -> Iterator[Sample]:
    """Yield where the policy is, and which of its conditions are not True."""
    for condition in status.conditions:
        if condition.status != "True" and condition.type != ConditionType.READY:
            yield Sample(UNREADY, (condition.type, condition.status, condition.reason))
    step, rollout = status.step, status.rollout
    if step is None:
        return
    refused = status.failed_revisions[0] if step.name == "RolledBack" and status.failed_revisions else None
    candidate = refused.revision if refused is not None else status.candidate_revision or ""
    placed = (status.stable_revision or ALWAYS_STRONG, rollout.id if rollout is not None else "", candidate)
    yield Sample(INFO, (*placed, step.name, step.state, refused.outcome if refused is not None else ""))


def verdicts(status: RoutingPolicyStatus) -> Iterator[Sample]:
    """Yield intervals, margins and samples of the verdicts that the status holds: 20 at most, the worst."""
    rollout = status.rollout.id if status.rollout is not None else ""
    seen = set()
    for one in status.verdicts:
        which = (rollout, one.stage, one.rubric, one.intent)
        if which in seen:
            continue
        seen.add(which)
        bounds = {
            "drop": one.drop_permille,
            "low": one.low_permille,
            "high": one.high_permille,
            "fail_beyond": one.fail_beyond_permille,
            "pass_within": one.pass_within_permille,
        }
        for bound, permille in bounds.items():
            yield Sample(BOUND, (*which, bound), float(permille))
        for arm, answers in (("incumbent", one.incumbent), ("candidate", one.candidate)):
            yield Sample(SAMPLES, (*which, arm), float(answers))


def verdicts_until(status: RoutingPolicyStatus) -> float:
    """Return the Unix time until which a status' verdicts are shown: for ever while its rollout is live."""
    rollout = status.rollout
    if rollout is None:
        return 0.0
    return unix(rollout.ended_at) + KEPT_S if rollout.ended_at is not None else float("inf")


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
