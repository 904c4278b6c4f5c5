"""Recorded answers, or scores, of one model on a gate's cases. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.gate.cases import CaseError, prompt_sha256, read_lines, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointsman.gate.cases import GateCase


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one model did on one case: an answer, or a score that somebody gave it."""

    line: int
    answer: str | None
    score: float | None
    """0..1."""


def read_answers(content: bytes) -> Mapping[str, Recorded]:
    """Return key (`id`, `promptSha256` or the hash of `prompt`) → what is recorded; `CaseError`."""
    found: dict[str, Recorded] = {}
    for number, value in read_lines(content):
        key = _key(number, value)
        if key in found:
            raise CaseError(f"line {number}: the same case as line {found[key].line}; keep one of them")
        found[key] = Recorded(number, text_of(number, value, "answer"), _score(number, value))
        if found[key].answer is None and found[key].score is None:
            raise CaseError(f"line {number}: must have an answer or a score")
    if not found:
        raise CaseError("the file holds no answer; write one JSON object a line")
    return found


def recorded(cases: Sequence[GateCase], answers: Mapping[str, Recorded]) -> tuple[Recorded | None, ...]:
    """Return what is recorded for each case; None: nothing."""
    return tuple(answers.get(case.id) or answers.get(case.turn_sha256) for case in cases)


def _key(number: int, value: dict[str, Any]) -> str:
    found = value.get("id")
    if found is not None:
        return str(found)
    digest, prompt = text_of(number, value, "promptSha256"), text_of(number, value, "prompt")
    key = digest.lower() if digest else prompt_sha256(prompt) if prompt else ""
    if not key:
        raise CaseError(f"line {number}: must name its case by id, promptSha256 or prompt")
    return key


def _score(number: int, value: dict[str, Any]) -> float | None:
    score = value.get("score")
    if score is None:
        return None
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise CaseError(f"line {number}: score: must be a number from 0 (wrong) to 1 (right)")
    return float(score)
