"""From counts to streams: each rubric overall and in each intent, small ones pooled. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from pointsman.rollout.evidence import HalfWindow, Moments, PairCounts, StreamKey, Tally
from pointsman.stats.budget import POOLED, pool_small
from pointsman.stats.noise import noise_floor, overdispersion
from pointsman.stats.types import Blocks, Halves, Noise, Pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.api.v1alpha1.status import NoiseStatus
    from pointsman.rollout.evidence import Evidence

_ENOUGH_TO_SPLIT: Final = 200
"""Incumbent's answers before the canary that say, once and for all, how the traffic is composed."""
_NOTHING: Final = HalfWindow(Tally(), Tally())


@dataclass(frozen=True, slots=True)
class Stream:
    """What is judged: a rubric overall (`intent` ""), in an intent, or in the small ones together."""

    rubric: str
    intent: str
    share: float
    """Its part of the rubric's traffic, above 0 and up to 1."""
    members: tuple[StreamKey, ...]
    """Whose counts are summed."""


def whole(rubric: str) -> Stream:
    """Return a rubric's stream overall."""
    return Stream(rubric, "", 1.0, (StreamKey(rubric),))


def streams(evidence: Evidence, rubric: str, canary_from: int | None) -> tuple[Stream, ...]:
    """Return a rubric's streams, overall first. `canary_from`: index of the first step with a weight."""
    found = [whole(rubric)]
    total, sizes = _sizes(evidence, rubric, canary_from)
    named = pool_small(sizes)
    for name in sorted(set(named.values()), key=lambda name: (name == POOLED, name)):
        members = sorted(intent for intent, its in named.items() if its == name)
        size = sum(sizes[intent] for intent in members)
        share = min(1.0, size / total) if total > 0 else 0.0
        if share > 0:
            found.append(Stream(rubric, name, share, tuple(StreamKey(rubric, m) for m in members)))
    return tuple(found)


def _sizes(evidence: Evidence, rubric: str, canary_from: int | None) -> tuple[float, dict[str, float]]:
    """Return the incumbent's scored answers overall and by intent.

    Those before the canary, where they are enough: a stream that changed its members midway proves nothing.
    """
    before: dict[str, float] = {}
    all_of: dict[str, float] = {}
    for key, windows in evidence.canary.items():
        if key.rubric == rubric:
            all_of[key.intent] = sum(w.incumbent.total for w in windows)
            early = (w.incumbent.total for w in windows if canary_from is not None and w.step < canary_from)
            before[key.intent] = sum(early)
    if before.get("", 0) >= _ENOUGH_TO_SPLIT:
        all_of = before
    elif not any(all_of.values()):
        all_of = {key.intent: pairs.total for key, pairs in evidence.shadow.items() if key.rubric == rubric}
    overall = all_of.pop("", 0.0)
    return overall, all_of


def blocks_of(stream: Stream, evidence: Evidence, starts_s: Sequence[float]) -> Blocks:
    """Return both arms' windows in time order. `starts_s`: when processes of the Fail test begin."""
    cells: dict[tuple[float, int], list[float]] = {}
    for member in stream.members:
        for window in evidence.canary.get(member, ()):
            cell = cells.setdefault((window.start_s, window.step), [0.0] * 4)
            for place, count in enumerate((*window.incumbent, *window.candidate)):
                cell[place] += count
    order = sorted(cells)
    begins = [start for start, _ in order]
    table = np.array([cells[at] for at in order], dtype=np.float64).reshape(len(order), 4)
    halves = halves_of(stream.members, evidence)
    seen = float(halves.a_total.sum() + halves.b_total.sum())
    passed = float(halves.a_passes.sum() + halves.b_passes.sum())
    return Blocks(
        incumbent_passes=table[:, 0],
        incumbent_total=table[:, 1],
        candidate_passes=table[:, 2],
        candidate_total=table[:, 3],
        starts=tuple(sorted({bisect_left(begins, start) for start in starts_s})) or (0,),
        prior=passed / seen if seen else None,
    )


def pairs_of(stream: Stream, evidence: Evidence) -> Pairs:
    """Return the paired outcomes of a stream."""
    found = [evidence.shadow.get(member, PairCounts()) for member in stream.members]
    return Pairs(
        both=sum(p.both for p in found),
        only_incumbent=sum(p.only_incumbent for p in found),
        only_candidate=sum(p.only_candidate for p in found),
        neither=sum(p.neither for p in found),
    )


def halves_of(members: Sequence[StreamKey], evidence: Evidence) -> Halves:
    """Return the incumbent's halves, window by window; shorter histories end at the same window."""
    found = [evidence.halves.get(member, ()) for member in members]
    longest = max((len(windows) for windows in found), default=0)
    table = np.zeros((longest, 4), dtype=np.float64)
    for windows in found:
        padded = (_NOTHING,) * (longest - len(windows)) + tuple(windows)
        table += np.array([(*w.a, *w.b) for w in padded], dtype=np.float64).reshape(longest, 4)
    return Halves(a_passes=table[:, 0], a_total=table[:, 1], b_passes=table[:, 2], b_total=table[:, 3])


def windows_of(rubric: str, evidence: Evidence) -> int:
    """Return how many windows have scored answers in both halves, overall."""
    found = evidence.halves.get(StreamKey(rubric), ())
    return sum(1 for window in found if window.a.total and window.b.total)


class Wobble:
    """The incumbent's noise under one rubric: read once, asked for every stream of it."""

    def __init__(
        self, rubric: str, evidence: Evidence, multiplier: float, known: NoiseStatus | None = None
    ) -> None:
        """`known`: what the status says was allowed for; the evaluator may have lost its history since."""
        self._evidence = evidence
        self._multiplier = multiplier
        self.phi = overdispersion(*(float(value) for value in evidence.moments.get(rubric, Moments())))
        intents = [key for key in evidence.halves if key.rubric == rubric and key.intent]
        self._pooled = [halves_of((key,), evidence) for key in intents]
        whole = noise_floor(
            halves_of((StreamKey(rubric),), evidence), self.phi, multiplier, self._pooled
        ).tau_star
        remembered = known.rubrics if known is not None else []
        recorded = (float(r.tau_star_permille) / 1000 for r in remembered if r.rubric == rubric)
        self._whole = whole if whole < inf else next(recorded, inf)

    def of(self, stream: Stream) -> Noise:
        """Return a stream's noise floor; without a window of its own, what its share has of the whole's.

        Shocks are in units of what chance gives, so a share of the traffic has 1/sqrt(share) of them.
        """
        own = noise_floor(halves_of(stream.members, self._evidence), self.phi, self._multiplier, self._pooled)
        return own if own.tau_star < inf else replace(own, tau_star=self._whole / sqrt(stream.share))
