"""What shadow replays and gate runs hand to the store, and what they are handed of a scored request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.evaluator.record import AccessRecord

Stage: TypeAlias = Literal["shadow", "gate"]
ShadowOutcome: TypeAlias = Literal["agreed", "replayed", "failed", "skipped", "over_budget"]
CaseState: TypeAlias = Literal["scored", "failed"]


@dataclass(frozen=True, slots=True)
class PairRow:
    """One case answered by both sides and scored by one rubric; counted once, by all that names it."""

    policy: str
    """`namespace/name`."""
    rollout: str
    stage: Stage
    case_id: str
    """Shadow: the request's id. Gate: whatever names the case in its data set."""
    group: str
    """Cases of a group are no independent ones; "": a group of its own."""
    intent: str
    rubric: str
    version: str
    incumbent: bool
    """Whether its answer passed."""
    candidate: bool


@dataclass(frozen=True, slots=True)
class ShadowNote:
    """What became of a request that the candidate was to be asked about, and what the replay cost."""

    policy: str
    rollout: str
    outcome: ShadowOutcome
    cost_nano: int
    """Nano-dollars."""
    case_id: str = ""
    """The request's id: counted once. "": counted as often as it is handed over."""


@dataclass(frozen=True, slots=True)
class GateTotal:
    """How many cases a gate run has; said again after a restart."""

    policy: str
    rollout: str
    total: int


@dataclass(frozen=True, slots=True)
class GateCase:
    """A case that was scored by every rubric that can, or given up. The last word counts."""

    policy: str
    rollout: str
    case_id: str
    state: CaseState


CaseItem: TypeAlias = PairRow | ShadowNote | GateTotal | GateCase
"""What `Writer.offer` takes beside records, texts and scores."""


@dataclass(frozen=True, slots=True)
class ScoredRequest:
    """A served request whose scores are in the store. Never logged: `body` is as the client sent it."""

    record: AccessRecord
    body: bytes | None
    """As the client sent it; None: not captured, cut, or no longer held."""
    answer: str
    """The answer's text as stored (redacted); "": none."""
    messages: list[dict[str, Any]]
    status: int
    intent: str
    """What both arms' counts are labelled with."""
    outcomes: Mapping[str, bool]
    """Rubric (guards too) → whether it passed; one that could not be scored is not here."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Rubric → version of its definition, for all of `outcomes`."""
