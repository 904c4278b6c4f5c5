"""Who may spend how much: false alarms over streams, harm over steps; and intents too small alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from pointsman.stats.types import Rule

POOLED = "(pooled)"
_STEP_CAP = 0.10
_INTENT_CAP = 0.25
_PROMOTION_INTENT_CAP = 0.15


def alphas(rule: Rule, rubrics: int, intent_streams: int) -> tuple[float, float]:
    """Split the false alarms: half over the deciding rubrics overall, half over rubric × intent.

    Return each rubric's share and each of the `intent_streams`' (pairs of rubric and intent, or `(pooled)`).
    """
    half = rule.false_alarm / 2
    return half / max(rubrics, 1), half / max(intent_streams, 1)


def step_margin(rule: Rule, next_weight: float, share: float = 1.0) -> float:
    """Return what `Reading.high` must be under before the candidate may get `next_weight` (1 is promotion).

    The harm risked is weight × drop, so small weights allow large margins: min(10 points, H / weight).
    An intent with this `share` of the traffic: that / sqrt(share), at most 25 points, 15 for promotion.
    """
    if not 0 < next_weight <= 1:
        raise ValueError(f"next_weight: a share above 0 and up to 1, not {next_weight}")
    if not 0 < share <= 1:
        raise ValueError(f"share: a share above 0 and up to 1, not {share}")
    whole = min(_STEP_CAP, rule.tolerated_drop / next_weight)
    return min(_PROMOTION_INTENT_CAP if next_weight == 1 else _INTENT_CAP, whole / sqrt(share))


def pool_small(totals: Mapping[str, float], at_least: float = 0.04) -> dict[str, str]:
    """Map every known intent to its own name, or to `(pooled)` where its share of the traffic is too small.

    The unknown intent "" counts nowhere and never appears.
    """
    known = {intent: total for intent, total in totals.items() if intent}
    whole = sum(known.values())
    return {intent: intent if total >= at_least * whole > 0 else POOLED for intent, total in known.items()}
