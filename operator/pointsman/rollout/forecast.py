"""How many answers, minutes and hours are still needed: estimates, for people alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, isinf, log
from typing import TYPE_CHECKING, Final

from pointsman.rollout.evidence import StreamKey
from pointsman.rollout.judged import worst_first
from pointsman.rollout.moments import unix
from pointsman.rollout.steps.canary import WHOLE, next_weight
from pointsman.rollout.streams import Wobble, pairs_of, streams, windows_of
from pointsman.rollout.verdicts import canary_from, own_rubrics, rule_of
from pointsman.rollout.words import percent
from pointsman.stats import paired
from pointsman.stats.planning import Plan, first_weight, hours_to_promotion, samples_needed

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.status import RolloutStatus
    from pointsman.rollout.judged import Judged
    from pointsman.rollout.observation import Observation
    from pointsman.rollout.steps.look import Look

SLOW_HOURS: Final = 24.0
_LEAST_SECONDS: Final = 5.0
_LEAST_RATED_SECONDS: Final = 20.0
_LOOKED_AT: Final = 3
"""Streams whose need is estimated: those farthest from passing."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Estimates at the present rate; None where nothing can be said."""

    samples: int | None = None
    minutes: int | None = None
    hours: str | None = None
    advice: str = ""


def forecast(o: Observation, rollout: RolloutStatus, look: Look) -> Forecast:
    """Return what the step still needs, and the hours until promotion."""
    if look.blind or o.evidence.trouble is not None:
        return Forecast()
    samples, minutes = _needed(o, rollout, look)
    hours, advice = _hours(o, rollout)
    return Forecast(samples, minutes, hours, advice)


def _needed(o: Observation, rollout: RolloutStatus, look: Look) -> tuple[int | None, int | None]:
    undecided = [one for one in worst_first(look.judged) if one.verdict == "Undecided"][:_LOOKED_AT]
    found = []
    for one in undecided:
        if one.stage == "Canary":
            found.append(_canary_needed(o, rollout, one))
        elif one.stage == "Shadow":
            found.append(_pairs_needed(o, rollout, one))
    known = [need for need in found if need is not None]
    if not known or len(known) < len(found):
        return None, None
    return max(samples for samples, _ in known), ceil(max(seconds for _, seconds in known) / 60)


def _canary_needed(o: Observation, rollout: RolloutStatus, one: Judged) -> tuple[int, float] | None:
    from_s = next((unix(s.started_at) for s in rollout.steps if s.weight_permille > 0), o.evidence.at_s)
    elapsed, weight = o.evidence.at_s - from_s, rollout.steps[-1].weight_permille / WHOLE
    total = one.incumbent + one.candidate
    if (
        one.noise is None
        or one.reading is None
        or elapsed < _LEAST_SECONDS
        or not one.candidate
        or not weight
    ):
        return None
    rate = total / elapsed * weight
    rule = rule_of(o.settings)
    need = samples_needed(
        one.reading,
        rule,
        one.pass_within,
        p=one.p,
        per_candidate=(1 - weight) / weight,
        tau_star=one.noise.tau_star,
        phi=one.noise.phi,
        per_window=max(1.0, rate * o.settings.window_s),
    )
    return (need, need / rate) if need >= 0 and rate > 0 else None


def _pairs_needed(o: Observation, rollout: RolloutStatus, one: Judged) -> tuple[int, float] | None:
    elapsed = o.evidence.at_s - unix(rollout.steps[-1].started_at)
    if not one.candidate or elapsed < _LEAST_SECONDS:
        return None
    parts = streams(o.evidence, one.rubric, canary_from(rollout))
    stream = next(part for part in parts if part.intent == one.intent)
    grown = paired.log_pass(pairs_of(stream, o.evidence), 1.0, one.pass_within)
    threshold = -log(rule_of(o.settings).false_pass)
    wanted = one.candidate * threshold / grown if 0 < grown < threshold else float(one.candidate)
    if grown <= 0:
        return None
    if not one.intent:
        wanted = max(wanted, o.settings.min_pairs)
    need = max(1, ceil(wanted) - one.candidate)
    return need, need * elapsed / one.candidate


def _hours(o: Observation, rollout: RolloutStatus) -> tuple[str | None, str]:
    """Return the hours from here to promotion of an equally good candidate, and what would shorten them."""
    cfg, rule = o.settings, rule_of(o.settings)
    rubrics = own_rubrics(o) or ("answered",)
    known = [(_rate(o, rollout, rubric), rubric) for rubric in rubrics]
    rate, rubric = min(known)
    if rate <= 0 or cfg.mode == "Observe" or windows_of(rubric, o.evidence) < cfg.min_windows:
        return None, ""
    parts = streams(o.evidence, rubric, canary_from(rollout))
    noise = Wobble(rubric, o.evidence, cfg.noise_multiplier, o.status.noise).of(parts[0])
    if isinf(noise.tau_star):
        return None, ""
    present = rollout.steps[-1].weight_permille
    left = [s for s in cfg.steps if s.weight_permille >= max(present, 1)]
    if not left:
        return None, ""
    plan = Plan(
        weights=tuple(s.weight_permille / WHOLE for s in left),
        minimum_hours=tuple(s.min_duration_s / 3600 for s in left),
        rate=rate,
        window_hours=cfg.window_s / 3600,
        shares=tuple(part.share for part in parts),
        p=_pass_rate(o, rubric),
        tau_star=noise.tau_star,
        phi=noise.phi,
    )
    hours = hours_to_promotion(plan, rule)
    if present:  # what this weight has had already
        hours = max(0.0, hours - (o.evidence.at_s - unix(rollout.steps[-1].started_at)) / 3600)
    if hours <= SLOW_HOURS:
        return f"{hours:.1f}" if hours >= 1 else f"{max(hours, 0.01):.2f}", ""
    told = "never" if hours == inf else f"{hours:.0f}"
    fits = first_weight(plan, rule, SLOW_HOURS)
    slow = f"at {rate:.2g} scored answers a second of {rubric}, promotion takes {told} hours"
    if hours == inf:
        slow = f"at {rate:.2g} scored answers a second and this noise of {rubric}, nothing can be proven"
    if fits is None or next_weight(cfg, rollout) == WHOLE:
        return told, f"{slow}; widen toleratedDropPermille, or score more answers"
    return told, f"{slow}; a first step of {percent(round(fits * WHOLE))} would fit in {SLOW_HOURS:g}"


def _elapsed(o: Observation, rollout: RolloutStatus) -> float:
    """Return the seconds of the rollout that are scored."""
    until = min(o.evidence.at_s, o.evidence.scored_until_s or o.evidence.at_s)
    return max(_LEAST_SECONDS, until - unix(rollout.started_at))


def _rate(o: Observation, rollout: RolloutStatus, rubric: str) -> float:
    """Return the scored answers per second of both arms, over the whole rollout; 0: not known yet."""
    windows = o.evidence.canary.get(StreamKey(rubric), ())
    elapsed = _elapsed(o, rollout)
    if elapsed < _LEAST_RATED_SECONDS:
        return 0.0
    return sum(w.incumbent.total + w.candidate.total for w in windows) / elapsed


def _pass_rate(o: Observation, rubric: str) -> float:
    windows = o.evidence.canary.get(StreamKey(rubric), ())
    total = sum(w.incumbent.total for w in windows)
    return sum(w.incumbent.passes for w in windows) / total if total else 0.9
