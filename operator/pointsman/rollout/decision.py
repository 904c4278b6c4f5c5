"""What a look at a policy leads to, as a value; and words that several looks share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ConditionType, ProgressingReason, find
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.moments import unix
from pointsman.rollout.words import told

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.rollout.observation import Observation
    from pointsman.rollout.record import Recording

REASONS: Final = ProgressingReason

REASON_OF: Final = {
    "RolledBack": REASONS.ROLLED_BACK,
    "ShadowFailed": REASONS.SHADOW_FAILED,
    "GateFailed": REASONS.GATE_FAILED,
    "Aborted": REASONS.ABORTED,
    "ForcedStrong": REASONS.FORCED_STRONG,
    "Promoted": REASONS.PROMOTED,
    "Superseded": REASONS.PROMOTED,
}
"""The reason of `Progressing` that an outcome leaves."""

REASON_OF_STEP: Final = {
    "Load": REASONS.WAITING_FOR_CLASSIFIER,
    "Gate": REASONS.GATING,
    "Noise": REASONS.MEASURING_NOISE,
    "Shadow": REASONS.SHADOWING,
    "Canary": REASONS.CANARY,
    "Promotion": REASONS.AWAITING_APPROVAL,
}
"""The reason that a step has while it simply runs."""


class Action(StrEnum):
    """What a tick does beside its status write, at most one: a file of `rollout.actions` each, but for some.

    PROMOTE, MOVE and NOTHING are nothing but the status write.
    """

    NOTHING = "nothing"
    FREEZE_REVISION = "freeze_revision"
    REPLACE_STRAY = "replace_stray"
    LOAD_CLASSIFIER = "load_classifier"
    PROMOTE = "promote"
    MOVE = "move"
    """A rollout begins, ends, or enters another step or weight."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One step, the reason of `Progressing` that it means, and when to look again (None: on an event)."""

    action: Action
    reason: ProgressingReason
    message: str
    requeue_after: float | None = None
    status: RoutingPolicyStatus | None = None
    """The status that follows, but for its conditions; None: the present one."""
    record: Recording | None = None
    """What has to be written into a revision; of a superseded attempt nobody else remembers it."""


def frozen(o: Observation) -> Decision | None:
    """Make the desired revision's object exist before anything else is done with it; None: it does."""
    if any(stray.name == o.desired for stray in o.strays):
        words = f"{o.desired} is left over from an earlier policy of this name and is replaced; {serving(o)}"
        return Decision(Action.REPLACE_STRAY, REASONS.WAITING_FOR_CLASSIFIER, words, 0.0)
    if o.find(o.desired) is not None:
        return None
    held = REASONS.PROMOTED if o.promoted else REASONS.WAITING_FOR_CLASSIFIER
    words = done(o) if o.promoted else f"{o.desired} is new; {serving(o)}"
    return Decision(Action.FREEZE_REVISION, held, words, 0.0)


def directly(o: Observation) -> bool:
    """Tell whether the desired revision comes into force without proof, or has proven itself."""
    status, cfg = o.status, o.settings
    untried = status.stable_revision is None and status.rollout is None and not status.failed_revisions
    return cfg.mode == "Direct" or status.stable_revision == o.desired or (cfg.first == "Direct" and untried)


def warm(o: Observation, now: datetime) -> bool:
    """Tell whether the desired revision was stable until lately: it goes straight back."""
    found = (w for w in o.status.warm if w.revision == o.desired and unix(w.until) > now.timestamp())
    return o.settings.mode != "Observe" and any(found)


def serving(o: Observation) -> str:
    """Say what serves while the desired revision does not."""
    return f"{o.status.stable_revision or ALWAYS_STRONG} serves meanwhile"


def done(o: Observation) -> str:
    """Say that the desired revision is in force."""
    return f"{o.desired} has all of the traffic"


def implied(o: Observation, status: RoutingPolicyStatus) -> tuple[ProgressingReason, str]:
    """Return the reason of `Progressing` that a status means by itself, and its words."""
    step, failed = status.step, status.failed_revisions
    if step is not None and step.name == "RolledBack":
        if not failed:
            return REASONS.ROLLED_BACK, step.because
        because = f"{failed[0].revision} is not tried again: {failed[0].because}"
        words = f"{because}; {status.stable_revision or ALWAYS_STRONG} serves; change the spec, or Retry"
        return REASON_OF[failed[0].outcome], words
    if step is None or step.name == "Stable":
        if status.stable_revision == o.desired:
            return REASONS.PROMOTED, done(o)
        return REASONS.WAITING_FOR_CLASSIFIER, f"{o.desired} waits; {serving(o)}"
    return REASON_OF_STEP[step.name], told(step)


def present(o: Observation) -> tuple[ProgressingReason, str]:
    """Return the reason and message that the status gives now."""
    known = find(o.status.conditions, ConditionType.PROGRESSING)
    found = next((reason for reason in REASONS if known is not None and reason == known.reason), None)
    return (found, known.message) if found is not None and known is not None else implied(o, o.status)
