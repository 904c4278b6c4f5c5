"""What all scorers share: whom they are about, empty and cut answers, and saying once what is wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from pointsman.api.v1alpha1.rubrics import rubric_version
from pointsman.evaluator.rubrics.types import Scored, Unscored

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.rubrics import Rubric
    from pointsman.evaluator.rubrics.types import Case

log = logging.getLogger(__name__)

OFF_LOOP: Final = 16_384
"""Characters from which an answer is looked at in a thread."""

EMPTY: Final = Scored(passed=False, note="empty answer")


class NotReadyError(Exception):
    """The rubric cannot score now; the message names the field and the remedy, and holds no answer."""


class RubricScorer:
    """A scorer by its definition. An answer without any text fails: saying nothing must not look better."""

    def __init__(self, rubric: Rubric, policy: str) -> None:
        self.name: str = rubric.name
        self.version: str = rubric_version(rubric)
        self.intents: frozenset[str] = frozenset(rubric.when.intents if rubric.when else ())
        self.problem: str = ""
        """Why it last could not score; "": it could."""
        self._policy = policy

    async def score(self, case: Case) -> Scored | Unscored:
        """Say whether the answer passes. Never raises but when cancelled."""
        if self.intents and case.intent not in self.intents:
            return Unscored("not_applicable")
        try:
            verdict = await self._scored(case)
        except NotReadyError as error:
            self._tell(str(error))
            return Unscored("error")
        except Exception as error:  # noqa: BLE001 - one rubric must not stop the others; the text stays out
            self._tell(f"spec.evaluation.rubrics[{self.name}]: cannot score: {type(error).__name__}")
            return Unscored("error")
        self.problem = ""
        return verdict

    async def _scored(self, case: Case) -> Scored | Unscored:
        if not case.answer.strip():
            called = any(message.get("tool_calls") for message in case.messages)
            return Unscored("not_applicable") if called else EMPTY
        if case.truncated:
            return self.cut(case.answer)
        return await self.whole(case)

    def cut(self, text: str) -> Scored | Unscored:  # noqa: ARG002 - what overrides it looks at the text
        """Score an answer of which only the beginning is known."""
        return Unscored("truncated")

    async def whole(self, case: Case) -> Scored | Unscored:
        """Score an answer that has text."""
        if len(case.answer) > OFF_LOOP:
            return await asyncio.to_thread(self.text, case.answer)
        return self.text(case.answer)

    def text(self, text: str) -> Scored | Unscored:
        """Score an answer by its text alone. Pure."""
        raise NotImplementedError

    def _tell(self, words: str) -> None:
        if words != self.problem:
            log.warning("%s", words, extra={"policy": self._policy, "rubric": self.name})
        self.problem = words


class Broken(RubricScorer):
    """Stands in for a rubric that cannot be made: scores nothing, and says why once."""

    def __init__(self, rubric: Rubric, policy: str, words: str) -> None:
        super().__init__(rubric, policy)
        self._words = words

    async def _scored(self, case: Case) -> Scored | Unscored:  # noqa: ARG002 - whatever it is
        raise NotReadyError(self._words)
