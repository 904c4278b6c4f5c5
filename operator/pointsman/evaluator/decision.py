"""Which tier an arm would choose: the twin of xds/lua/decide.lua; a test holds the two equal. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.contract import Reason

if TYPE_CHECKING:
    from pointsman.plan.types import ArmPlan, ClassifierPlan, TierPlan

UNREAD: Final = frozenset(
    {Reason.BODY_EMPTY, Reason.BODY_UNREADABLE, Reason.BODY_HOSTILE, Reason.SCRIPT_ERROR}
)
"""What Envoy found out about the body before any rule was asked: the last tier serves, whatever the arm."""

_SLACK: Final = 1e-6
_MILLIONTHS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a classifier says of a request."""

    scores: tuple[float, ...]
    """By tier, cheap to strong; as the model gave them, so perhaps nonsense (`decide` checks)."""
    intent: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A tier of an arm, why, and the score that is told with it."""

    tier: str
    reason: Reason
    score: float | None = None
    intent: str = ""


def asks(arm: ArmPlan, found: str = "") -> ClassifierPlan | None:
    """Return the classifier that `decide` needs an answer of; None where the arm decides without one.

    `found`: the reason that Envoy gave, as far as it is about the body and not about an arm.
    """
    if found in UNREAD or found == Reason.BODY_TOO_LARGE or arm.pinned is not None:
        return None
    return arm.classifier


def decide(arm: ArmPlan, answer: Answer | None = None, found: str = "") -> Decision:
    """Return what Envoy would decide on this arm; `answer` of `asks(arm, found)`, where that names one."""
    last = arm.tiers[-1].name
    if found in UNREAD:
        return Decision(last, Reason(found))
    if arm.pinned is not None:
        return Decision(arm.pinned, Reason.PINNED)
    if arm.classifier is None:
        return Decision(last, Reason.ALWAYS_STRONG)
    if found == Reason.BODY_TOO_LARGE:
        return Decision(last, Reason.BODY_TOO_LARGE)
    if answer is None or len(answer.scores) != len(arm.tiers) or not all(map(_is_score, answer.scores)):
        return Decision(last, Reason.CLASSIFIER_NONSENSE)
    return _choose(arm, arm.classifier, answer)


def _choose(arm: ArmPlan, classifier: ClassifierPlan, answer: Answer) -> Decision:
    """Return the intent's own tier, else the cheapest that reaches its threshold, else the last."""
    score_of = dict(zip((tier.name for tier in arm.tiers), answer.scores, strict=True))
    fixed = dict(classifier.per_intent).get(answer.intent)
    if fixed is not None:
        return Decision(fixed, Reason.INTENT_RULE, score_of[fixed], answer.intent)
    best: float | None = None
    for tier, permille in classifier.thresholds:
        score = score_of[tier]
        # A score counts to six decimals: 0.64 as a single is 0.63999998, and means 640 permille.
        if math.floor(score * _MILLIONTHS + 0.5) >= permille * 1000:
            return Decision(tier, Reason.SCORE, score, answer.intent)
        best = score if best is None else max(best, score)
    last = arm.tiers[-1].name
    return Decision(last, Reason.BELOW_THRESHOLD, score_of[last] if best is None else best, answer.intent)


def same_answer(one: TierPlan, other: TierPlan) -> bool:
    """Tell whether two tiers give the same answer to the same body: endpoints and model; time-outs aside."""
    return frozenset(one.endpoints) == frozenset(other.endpoints) and one.model == other.model


def _is_score(value: float) -> bool:
    return -_SLACK <= value <= 1 + _SLACK  # false for what is no number
