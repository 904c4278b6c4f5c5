"""Rubrics on the answer's text alone: Contains, Regex, Length, Refusal. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.evaluator.rubrics.base import RubricScorer
from pointsman.evaluator.rubrics.patterns import compiled
from pointsman.evaluator.rubrics.types import Scored, Unscored

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.rubrics import Contains, Length, Refusal, Regex, Rubric
    from pointsman.evaluator.rubrics.types import Case

_CANNOT: Final = (
    r"(?:can['’]?t|cannot|can not|won['’]?t|will not|(?:am|are|['’]m|['’]re) (?:not able|unable) to)"
)
_VERB: Final = (
    r"(?:help|assist|comply|provide|fulfil|answer|support|discuss|create|write|generate|share|do|engage)"
)

REFUSALS: Final = (
    rf"(?i)\A\W*(?:(?:i['’]?m|i am|we['’]?re|we are) )?(?:\w+ )?(?:sorry|afraid)\b.{{0,40}}?\b{_CANNOT}\b",
    rf"(?i)\A\W*(?:unfortunately,? )?(?:i|we) ?{_CANNOT} (?:\w+ ){{0,2}}?{_VERB}\b",
    r"(?i)\A\W*(?:unfortunately,? )?(?:i|we) (?:must|have to) (?:decline|refuse)\b",
    rf"(?i)\A\W*as an ai\b[^.]{{0,40}}?\bi ?{_CANNOT}\b",
)
"""How refusals begin. Change them only together with `api.v1alpha1.rubrics.REFUSALS`, their number."""


def _folded(phrases: list[str], *, fold: bool) -> tuple[str, ...]:
    return tuple(phrase.casefold() if fold else phrase for phrase in phrases)


class ContainsScorer(RubricScorer):
    """Words that must or must not be there."""

    def __init__(self, rubric: Rubric, policy: str, block: Contains) -> None:
        super().__init__(rubric, policy)
        self._fold = bool(block.ignore_case)
        self._all = _folded(block.all, fold=self._fold)
        self._any = _folded(block.any, fold=self._fold)
        self._none = _folded(block.none, fold=self._fold)

    def text(self, text: str) -> Scored:
        """Look for the phrases."""
        text = text.casefold() if self._fold else text
        if not all(phrase in text for phrase in self._all):
            return Scored(passed=False, note="lacks one of `all`")
        if self._any and not any(phrase in text for phrase in self._any):
            return Scored(passed=False, note="lacks every one of `any`")
        if any(phrase in text for phrase in self._none):
            return Scored(passed=False, note="holds one of `none`")
        return Scored(passed=True)


class RegexScorer(RubricScorer):
    """A pattern that must or must not be found."""

    def __init__(self, rubric: Rubric, policy: str, block: Regex) -> None:
        super().__init__(rubric, policy)
        self._pattern = compiled(block.pattern)
        self._wanted = block.must_match is not False

    def text(self, text: str) -> Scored:
        """Look for the pattern."""
        found = self._pattern.search(text) is not None
        return Scored(found == self._wanted, "pattern found" if found else "pattern not found")


class LengthScorer(RubricScorer):
    """Neither too short nor too long."""

    def __init__(self, rubric: Rubric, policy: str, block: Length) -> None:
        super().__init__(rubric, policy)
        self._least, self._most = block.min_characters, block.max_characters

    def text(self, text: str) -> Scored:
        """Count the characters."""
        length = len(text.strip())
        if self._least is not None and length < self._least:
            return Scored(passed=False, note=f"{length} characters, fewer than {self._least}")
        if self._most is not None and length > self._most:
            return Scored(passed=False, note=f"{length} characters, more than {self._most}")
        return Scored(passed=True, note=f"{length} characters")

    def cut(self, text: str) -> Scored | Unscored:
        """Say what is certain already of an answer that goes on."""
        length = len(text.strip())
        if self._most is not None and length > self._most:
            return Scored(passed=False, note=f"more than {self._most} characters")
        if self._most is None and self._least is not None and length >= self._least:
            return Scored(passed=True, note=f"at least {self._least} characters")
        return Unscored("truncated")


class RefusalScorer(RubricScorer):
    """No refusal: neither in the message's own field nor by its words."""

    def __init__(self, rubric: Rubric, policy: str, block: Refusal | None) -> None:
        super().__init__(rubric, policy)
        self._patterns = tuple(compiled(p) for p in (*REFUSALS, *(block.patterns if block else ())))

    async def _scored(self, case: Case) -> Scored | Unscored:
        if any(str(message.get("refusal") or "").strip() for message in case.messages):
            return Scored(passed=False, note="refusal field")
        return await super()._scored(case)

    def text(self, text: str) -> Scored:
        """Look for the words of a refusal."""
        refused = any(pattern.search(text) is not None for pattern in self._patterns)
        return Scored(not refused, "refusal" if refused else "")
