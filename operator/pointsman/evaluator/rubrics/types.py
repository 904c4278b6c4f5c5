"""What a rubric is asked about, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

Because: TypeAlias = Literal[
    "not_captured",
    "no_reference",
    "truncated",
    "no_answer",
    "not_applicable",
    "budget",
    "judge_failed",
    "dropped",
    "error",
]
"""Why an answer was not scored: the label `because` of `pointsman_rubric_unscored_total`."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request and its answer, as far as they were captured."""

    body: bytes | None
    """The request's JSON as stored (redacted); None: not captured."""
    turn_sha256: str
    """`turns.turn_sha256` of the body as the client sent it; "": unknown."""
    question: str
    """Text of the last user turn as stored; "": unknown."""
    answer: str
    """Text of the answer as stored."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """The answer's messages (`content`, `refusal`, `tool_calls`), where it is more than one text."""
    intent: str = ""
    truncated: bool = False
    """Whether the answer was longer than what is kept of it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A verdict."""

    passed: bool
    note: str = ""
    """Why, in a few words without any text of the request or answer; "": nothing to add."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """No verdict: it counts for neither arm, and lowers coverage (but for `not_applicable`)."""

    because: Because


class Scorer(Protocol):
    """One rubric, ready to score."""

    @property
    def name(self) -> str:
        """The rubric's name in the policy."""

    @property
    def version(self) -> str:
        """`rubric_version` of its definition."""

    @property
    def intents(self) -> frozenset[str]:
        """The intents that it is about; empty: all."""

    async def score(self, case: Case) -> Scored | Unscored:
        """Say whether the answer passes. Never raises but when cancelled."""
