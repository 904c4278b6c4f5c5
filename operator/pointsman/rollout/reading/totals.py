"""What is read as totals of one time: pairs, shadow, gate, session moments, cost, coverage. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pointsman.rollout.evidence import GateMoments, GateProgress, Moments, PairCounts, ShadowProgress
from pointsman.rollout.reading.series import RevisionKey, RolloutKey, Series, Stream, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUMS: Final = {"n": "n", "clusters": "clusters", "d": "d", "dd": "dd", "DD": "D2", "Dn": "Dn", "nn": "n2"}
"""Fields of `GateMoments` by the label `moment`."""


def pairs(series: Iterable[Series], stage: str) -> dict[RolloutKey, dict[Stream, PairCounts]]:
    """Return the paired outcomes of a stage by stream."""
    sums: dict[RolloutKey, dict[Stream, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for one in series:
        if one.labels["stage"] == stage:
            for stream in one.streams():
                sums[one.rollout][stream][one.labels["outcome"]] += whole(one.last)
    return {
        key: {stream: PairCounts(**counts) for stream, counts in streams.items()}
        for key, streams in sums.items()
    }


def unscored(series: Iterable[Series]) -> dict[RolloutKey, dict[tuple[Stream, str], int]]:
    """Return by stream and arm how many answers should have been scored and were not."""
    sums: dict[RolloutKey, Counter[tuple[Stream, str]]] = defaultdict(Counter)
    for one in series:
        if one.labels["because"] != "not_applicable":
            stream = Stream(one.labels["rubric"], one.labels["version"])
            sums[one.rollout][stream, one.labels["arm"]] += whole(one.last)
    return {key: dict(found) for key, found in sums.items()}


def shadow_progress(
    requests: Iterable[Series], cost_usd: Iterable[Series]
) -> dict[RolloutKey, ShadowProgress]:
    """Return what became of the requests that were shadowed."""
    sums: dict[RolloutKey, Counter[str]] = defaultdict(Counter)
    for one in requests:
        sums[one.rollout][one.labels["outcome"]] += whole(one.last)
    found = {key: ShadowProgress(**counts) for key, counts in sums.items()}
    for one in cost_usd:
        known = found.get(one.rollout, ShadowProgress())
        found[one.rollout] = replace(known, cost_usd=known.cost_usd + one.last)
    return found


class Gates:
    """What the gates say, by rollout and stream."""

    def __init__(self, cases: Iterable[Series], moments: Iterable[Series]) -> None:
        self._cases: dict[RolloutKey, Counter[str]] = defaultdict(Counter)
        for one in cases:
            self._cases[one.rollout][one.labels["state"]] += whole(one.last)
        self._sums: dict[RolloutKey, dict[Stream, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for one in moments:
            stream = Stream(one.labels["rubric"], one.labels["version"])
            # d and Dn may be below zero
            self._sums[one.rollout][stream][_SUMS[one.labels["moment"]]] = round(one.last)

    def progress(self, key: RolloutKey, versions: dict[str, str]) -> GateProgress:
        """Return one rollout's, of the rubrics' present versions."""
        rubrics = {
            stream.rubric: GateMoments(**sums)
            for stream, sums in sorted(self._sums.get(key, {}).items())
            if versions.get(stream.rubric) == stream.version
        }
        cases = self._cases.get(key, Counter())
        return GateProgress(cases["total"], cases["scored"], cases["failed"], rubrics)


def moments(
    sums: Iterable[Series], passed: Iterable[Series]
) -> dict[RevisionKey, dict[tuple[str, str], Moments]]:
    """Return session moments by (rubric, version), and how many answers passed of how many (the halves')."""
    found: dict[RevisionKey, dict[tuple[str, str], Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for one in sums:
        rubric = (one.labels["rubric"], one.labels["version"])
        found[one.revision][rubric][one.labels["moment"]] += whole(one.last)
    for one in passed:
        counts = found[one.revision][one.labels["rubric"], one.labels["version"]]
        counts["total"] += whole(one.last)
        counts["passes"] += whole(one.last) if one.labels["outcome"] == "pass" else 0
    return {
        key: {rubric: Moments(**counts) for rubric, counts in rubrics.items()}
        for key, rubrics in found.items()
    }


def sums(series: Iterable[Series]) -> dict[RevisionKey, float]:
    """Return one number for each revision."""
    found: dict[RevisionKey, float] = defaultdict(float)
    for one in series:
        found[one.revision] += one.last
    return dict(found)
