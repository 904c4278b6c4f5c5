"""Prometheus' answers as series, and what a series is about. Pure.

`ValueError` and `KeyError`: the answer is not what the evaluator's contract says. Then nothing is concluded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ALL_INTENTS: Final = ""
"""The stream of a rubric over all traffic. A request of unknown intent counts only there."""


class RolloutKey(NamedTuple):
    """One rollout of one policy."""

    namespace: str
    policy: str
    rollout: str


class RevisionKey(NamedTuple):
    """One revision of one policy."""

    namespace: str
    policy: str
    revision: str


class Stream(NamedTuple):
    """One rubric in one definition, overall (`ALL_INTENTS`) or in one intent."""

    rubric: str
    version: str
    intent: str = ALL_INTENTS


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its labels, and its values by Unix time in ms."""

    labels: Mapping[str, str]
    points: Sequence[tuple[int, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]

    @property
    def rollout(self) -> RolloutKey:
        """The rollout that it is about."""
        return RolloutKey(self.labels["namespace"], self.labels["policy"], self.labels["rollout"])

    @property
    def revision(self) -> RevisionKey:
        """The revision that it is about."""
        return RevisionKey(self.labels["namespace"], self.labels["policy"], self.labels["revision"])

    def streams(self) -> tuple[Stream, ...]:
        """Return the streams that it counts in: its rubric overall and, where that is known, its intent."""
        rubric, version = self.labels["rubric"], self.labels["version"]
        intent = self.labels.get("intent", ALL_INTENTS)
        overall = Stream(rubric, version)
        return (overall, Stream(rubric, version, intent)) if intent else (overall,)


def parse(result: Iterable[Mapping[str, Any]]) -> list[Series]:
    """Return a vector's or a matrix's series (`data.result` of the HTTP API)."""
    return [
        Series(
            entry["metric"],
            [
                (round(float(at) * 1000), float(value))
                for at, value in entry.get("values") or (entry["value"],)
            ],
        )
        for entry in result
    ]


def whole(value: float) -> int:
    """Return a count. `ValueError`: it is none."""
    if value != value or value < 0 or value != int(value):  # noqa: PLR0124 - NaN differs from itself
        raise ValueError(f"{value} is no count")
    return int(value)
