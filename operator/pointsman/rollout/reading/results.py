"""Scored answers of both arms, by step and stream, at one or several times. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pointsman.rollout.evidence import ArmCoverage, Tally
from pointsman.rollout.reading.series import ALL_INTENTS, RolloutKey, Series, Stream, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SLOTS: Final = {
    ("incumbent", "pass"): 0,
    ("incumbent", "fail"): 1,
    ("candidate", "pass"): 2,
    ("candidate", "fail"): 3,
}


class Cell(NamedTuple):
    """One stream in one step (index in status.rollout.steps)."""

    step: int
    stream: Stream


class Counts(NamedTuple):
    """Four counters, each of which only grows."""

    incumbent_pass: int = 0
    incumbent_fail: int = 0
    candidate_pass: int = 0
    candidate_fail: int = 0

    @property
    def incumbent(self) -> Tally:
        """The incumbent's arm."""
        return Tally(self.incumbent_pass, self.incumbent_pass + self.incumbent_fail)

    @property
    def candidate(self) -> Tally:
        """The candidate's arm."""
        return Tally(self.candidate_pass, self.candidate_pass + self.candidate_fail)

    def since(self, before: Counts) -> Counts:
        """Return what was counted after `before`; a negative number: counters went backwards."""
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


Cells = dict[Cell, Counts]
"""All counters of one rollout at one time; a cell that is not there is all zeros."""
Results = dict[RolloutKey, Cells]


def results(series: Iterable[Series]) -> dict[int, Results]:
    """Return the counters by Unix time in ms. Series of several tiers or evaluators add up."""
    sums: dict[int, dict[RolloutKey, dict[Cell, list[int]]]] = {}
    for one in series:
        slot = _SLOTS[one.labels["arm"], one.labels["outcome"]]
        key, step = one.rollout, int(one.labels["step"])
        cells = [Cell(step, stream) for stream in one.streams()]
        for at, value in one.points:
            found = sums.setdefault(at, {}).setdefault(key, {})
            for cell in cells:
                found.setdefault(cell, [0, 0, 0, 0])[slot] += whole(value)
    return {
        at: {key: {cell: Counts(*four) for cell, four in cells.items()} for key, cells in rollouts.items()}
        for at, rollouts in sums.items()
    }


def coverage(
    cells: Mapping[Cell, Counts], unscored: Mapping[tuple[Stream, str], int]
) -> dict[tuple[Stream, str], ArmCoverage]:
    """Return by stream and arm how many answers were scored and how many could not be, in all steps."""
    scored: dict[tuple[Stream, str], int] = {}
    for cell, counts in cells.items():
        if cell.stream.intent == ALL_INTENTS:
            for arm, tally in (("incumbent", counts.incumbent), ("candidate", counts.candidate)):
                scored[cell.stream, arm] = scored.get((cell.stream, arm), 0) + tally.total
    return {
        key: ArmCoverage(scored.get(key, 0), unscored.get(key, 0)) for key in scored.keys() | unscored.keys()
    }
