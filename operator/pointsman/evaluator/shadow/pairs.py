"""Both sides' outcomes of one case, as pairs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pointsman.evaluator.cases import PairRow
from pointsman.evaluator.guards import Rubric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pointsman.evaluator.cases import ScoredRequest, Stage

GUARD_VERSION: Final = "guard"
ANSWERED: Final = (Rubric.ANSWERED.value, GUARD_VERSION)

Outcomes: TypeAlias = dict[tuple[str, str], bool]
"""(rubric, version) → whether the answer passed; what could not be scored is not here."""


@dataclass(frozen=True, slots=True)
class CaseName:
    """Which case, as `PairRow` names it."""

    policy: str
    rollout: str
    stage: Stage
    case_id: str
    group: str
    intent: str


def pairs(
    case: CaseName, incumbent: Mapping[tuple[str, str], bool], candidate: Mapping[tuple[str, str], bool]
) -> Iterator[PairRow]:
    """Yield a pair for each (rubric, version) that has an outcome on both sides; `answered` comes last."""
    for rubric, version in sorted(
        incumbent.keys() & candidate.keys(), key=lambda key: (key == ANSWERED, key)
    ):
        yield PairRow(
            policy=case.policy,
            rollout=case.rollout,
            stage=case.stage,
            case_id=case.case_id,
            group=case.group,
            intent=case.intent,
            rubric=rubric,
            version=version,
            incumbent=incumbent[rubric, version],
            candidate=candidate[rubric, version],
        )


def incumbent_outcomes(scored: ScoredRequest) -> Outcomes:
    """Return what the incumbent's answer came to, by (rubric, version): rubrics on text, and `answered`.

    The other guards are about the path (a client that left, a late classifier), which no replay has.
    """
    return {
        (rubric, version): passed
        for rubric, passed in scored.outcomes.items()
        if (version := scored.versions.get(rubric, "")) != GUARD_VERSION or rubric == Rubric.ANSWERED
    }
