"""Verdicts: every stream of a stage held against its margins. Pure; the statistics are in `stats`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import isinf
from typing import TYPE_CHECKING, Final, Literal

from pointsman.rollout.evidence import ArmCoverage, GateMoments
from pointsman.rollout.judged import Judged
from pointsman.rollout.moments import unix
from pointsman.rollout.question import GUARDS, versions
from pointsman.rollout.streams import Wobble, blocks_of, pairs_of, streams
from pointsman.rollout.words import measured, points
from pointsman.stats.budget import alphas, step_margin
from pointsman.stats.canary import read_canary
from pointsman.stats.gate import read_gate
from pointsman.stats.noise import overdispersion
from pointsman.stats.paired import read_paired
from pointsman.stats.types import Pairs, Rule

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.settings import Settings
    from pointsman.api.v1alpha1.status import NoiseStatus, RolloutStatus
    from pointsman.rollout.evidence import Evidence
    from pointsman.rollout.judged import Verdict
    from pointsman.rollout.observation import Observation
    from pointsman.rollout.streams import Stream
    from pointsman.stats.types import Reading

LEAST_ANSWERS: Final = 20
"""Scored answers of the candidate under each rubric that a canary asks for, whatever the shadow said."""
_LEAST_COVERED: Final = 50
_COVERAGE_GAP: Final = 0.1
"""A scored share that differs between the arms by more than this compares different requests."""


def rule_of(cfg: Settings) -> Rule:
    """Return the rule of the verdicts, as shares."""
    return Rule(
        minimum_drop=cfg.minimum_drop_permille / 1000,
        tolerated_drop=cfg.tolerated_drop_permille / 1000,
        false_alarm=cfg.false_alarm_permille / 1000,
        false_pass=cfg.false_pass_permille / 1000,
    )


def own_rubrics(o: Observation) -> tuple[str, ...]:
    """Return the names of the policy's own rubrics."""
    return tuple(name for name, _ in versions(o.policy) if name not in GUARDS)


def canary_from(rollout: RolloutStatus) -> int | None:
    """Return the index of the first step in which the candidate had traffic; None before it."""
    return next((step.index for step in rollout.steps if step.weight_permille > 0), None)


def gate_verdicts(o: Observation) -> tuple[Judged, ...]:
    """Return one verdict for each of the policy's own rubrics, from the gate's cases."""
    cfg, rule = o.settings, rule_of(o.settings)
    found = []
    for rubric in own_rubrics(o):
        m = o.evidence.gate.rubrics.get(rubric, GateMoments())
        reading = read_gate(m.n, m.clusters, m.d, m.dd, m.D2, m.Dn, m.n2, rule)
        verdict: Verdict = {"pass": "Pass", "fail": "Fail", "underpowered": "Undecided"}[reading.verdict]  # type: ignore[assignment]
        if m.n < cfg.gate_min_cases and verdict == "Pass":
            verdict = "Undecided"
        judged = Judged(
            stage="Gate",
            rubric=rubric,
            intent="",
            incumbent=m.n,
            candidate=m.n,
            drop=reading.drop,
            low=reading.low,
            high=reading.high,
            fail_beyond=rule.minimum_drop,
            pass_within=rule.tolerated_drop,
            verdict=verdict,
            because="",
        )
        needed = max(reading.needed_n, cfg.gate_min_cases)
        told = {
            "Pass": f"; within {points(rule.tolerated_drop)}",
            "Fail": f"; fails beyond {points(rule.minimum_drop)}",
            "Undecided": f"; too few to tell, about {needed} scored cases would do",
        }
        found.append(replace(judged, because=measured(judged) + told[verdict]))
    return tuple(found)


def shadow_verdicts(o: Observation, rollout: RolloutStatus) -> tuple[Judged, ...]:
    """Return the verdicts on pairs: of the own rubrics and `answered`, overall and by intent."""
    cfg, rule = o.settings, rule_of(o.settings)
    rubrics = (*own_rubrics(o), "answered")
    parts = [stream for rubric in rubrics for stream in streams(o.evidence, rubric, canary_from(rollout))]
    overall, by_intent = alphas(rule, len(rubrics), len(parts) - len(rubrics))
    found = []
    for stream in parts:
        pairs = pairs_of(stream, o.evidence)
        moments = o.evidence.moments.get(stream.rubric)
        phi = overdispersion(*(float(value) for value in moments)) if moments else 1.0
        reading = read_paired(pairs, phi, rule, by_intent if stream.intent else overall)
        margin = step_margin(rule, 1.0, stream.share) if stream.intent else rule.tolerated_drop
        judged = _judged("Shadow", stream, reading, rule, margin)
        short = not stream.intent and pairs.total < cfg.min_pairs and judged.verdict == "Pass"
        words = f"{measured(judged)}; minPairs is {cfg.min_pairs}"
        found.append(replace(judged, verdict="Undecided", because=words) if short else judged)
    return tuple(found)


def canary_verdicts(
    o: Observation, rollout: RolloutStatus, next_weight: float, starts_s: tuple[float, ...]
) -> tuple[Judged, ...]:
    """Return the verdicts on both arms' windows, each held against what `next_weight` (1: promotion) asks."""
    known = o.status.noise if o.status.noise and o.status.noise.revision == rollout.incumbent else None
    rubrics = (*own_rubrics(o), *GUARDS)
    question = _Canary(rubrics, o.settings, next_weight, starts_s, canary_from(rollout))
    return tuple(_doubted(o, judged) for judged in _read(_Same(o.evidence, known), question))


@dataclass(frozen=True, slots=True)
class _Canary:
    """What is asked of the canary's counts."""

    rubrics: tuple[str, ...]
    cfg: Settings
    next_weight: float
    starts_s: tuple[float, ...]
    canary_from: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Same:
    """Evidence, equal only to itself, and the noise that was known before."""

    evidence: Evidence
    known: NoiseStatus | None

    def __hash__(self) -> int:
        return id(self.evidence)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.evidence is self.evidence and other.known == self.known


@lru_cache(maxsize=16)  # a look at the same counts again, say because the status was written, costs nothing
def _read(same: _Same, asked: _Canary) -> tuple[Judged, ...]:
    cfg, rule, evidence = asked.cfg, rule_of(asked.cfg), same.evidence
    parts = [streams(evidence, rubric, asked.canary_from) for rubric in asked.rubrics]
    count = sum(len(of_rubric) for of_rubric in parts)
    overall, by_intent = alphas(rule, len(asked.rubrics), count - len(asked.rubrics))
    found = []
    for of_rubric in parts:
        wobble = Wobble(of_rubric[0].rubric, evidence, cfg.noise_multiplier, same.known)
        for stream in of_rubric:
            noise, pairs = wobble.of(stream), pairs_of(stream, evidence) if cfg.shadow else Pairs()
            blocks = blocks_of(stream, evidence, asked.starts_s)
            alpha = by_intent if stream.intent else overall
            reading = read_canary(blocks, noise, rule, alpha, pairs if pairs.total else None)
            margin = step_margin(rule, asked.next_weight, stream.share)
            beside = blocks.candidate_total > 0
            # the incumbent's answers that the candidate's are compared with, not those before it
            counted = replace(reading, n_incumbent=round(float(blocks.incumbent_total[beside].sum())))
            seen, passed = float(blocks.incumbent_total.sum()), float(blocks.incumbent_passes.sum())
            p = passed / seen if seen else 0.5
            found.append(replace(_judged("Canary", stream, counted, rule, margin), noise=noise, p=p))
    return tuple(found)


def _judged(
    stage: Literal["Shadow", "Canary"], stream: Stream, reading: Reading, rule: Rule, margin: float
) -> Judged:
    verdict: Verdict = "Fail" if reading.failed else "Pass" if reading.high < margin else "Undecided"
    judged = Judged(
        stage=stage,
        rubric=stream.rubric,
        intent=stream.intent,
        incumbent=reading.n_incumbent,
        candidate=reading.n_candidate,
        drop=reading.drop,
        low=reading.low,
        high=reading.high,
        fail_beyond=rule.minimum_drop,
        pass_within=margin,
        verdict=verdict,
        because="",
        guard=stream.rubric in GUARDS,
        log_e=reading.log_e_fail,
        reading=reading,
    )
    told = {
        "Pass": f"; within {points(margin)}",
        "Fail": f"; fails beyond {points(rule.minimum_drop)}",
        "Undecided": f"; must be proven below {points(margin)}",
    }
    return replace(judged, because=measured(judged) + told[verdict])


def _doubted(o: Observation, judged: Judged) -> Judged:
    """Take back a Pass that the canary's own answers do not bear out: no evidence is never good evidence."""
    if judged.verdict == "Fail" or judged.intent:
        return judged
    coverage = o.evidence.coverage
    arms = {arm: coverage.get((judged.rubric, arm), ArmCoverage()) for arm in ("incumbent", "candidate")}
    theirs = arms["candidate"]
    if judged.candidate == 0 and theirs.unscored:
        words = f"{judged.rubric}: none of {theirs.unscored} answers of the candidate could be scored"
        return replace(judged, verdict="Error", because=words)
    covered = {arm: c.scored / (c.scored + c.unscored) for arm, c in arms.items() if sum(c) >= _LEAST_COVERED}
    if len(covered) == len(arms) and abs(covered["incumbent"] - covered["candidate"]) > _COVERAGE_GAP:
        words = (
            f"{judged.rubric}: {covered['candidate']:.0%} of the candidate's answers are scored, "
            f"{covered['incumbent']:.0%} of the incumbent's: the arms cannot be compared"
        )
        return replace(judged, verdict="Error", because=words)
    if judged.verdict == "Pass" and judged.candidate < LEAST_ANSWERS:
        words = f"{measured(judged)}; at least {LEAST_ANSWERS} of the candidate's own must be scored"
        return replace(judged, verdict="Undecided", because=words)
    if judged.verdict == "Undecided" and judged.noise is not None and isinf(judged.noise.tau_star):
        return replace(judged, because=f"{measured(judged)}; the incumbent's noise is not known yet")
    return judged


def starts_of(rollout: RolloutStatus, until_s: float) -> tuple[float, ...]:
    """Return when processes of the Fail test begin: the canary's begin, each weight, each hour."""
    entered = [unix(step.started_at) for step in rollout.steps if step.weight_permille > 0]
    if not entered:
        return ()
    hours = int(max(0.0, until_s - entered[0]) // 3600)
    return tuple(sorted({*entered, *(entered[0] + 3600.0 * hour for hour in range(1, hours + 1))}))
