"""Judge: a model finds the answer good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.v1alpha1.rubrics import DEFAULT_SCALE
from pointsman.evaluator.rubrics.base import RubricScorer
from pointsman.evaluator.rubrics.judges import Judges, Question
from pointsman.evaluator.rubrics.types import Scored, Unscored

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.rubrics import Judge, Rubric
    from pointsman.evaluator.rubrics.exact import References
    from pointsman.evaluator.rubrics.types import Case


class JudgeScorer(RubricScorer):
    """A judge's score against the least that passes."""

    def __init__(
        self, rubric: Rubric, policy: str, block: Judge, judges: Judges, references: References | None
    ) -> None:
        super().__init__(rubric, policy)
        self._block = block
        self._judges = judges
        self._references = references
        self._best = block.scale.max if block.scale else DEFAULT_SCALE[1]

    async def _scored(self, case: Case) -> Scored | Unscored:
        if self._references is not None:
            right = await self._references.of(case)
            if isinstance(right, Unscored):
                return right
        return await super()._scored(case)

    async def whole(self, case: Case) -> Scored | Unscored:
        """Ask the judge, or remember what it said."""
        right = await self._references.of(case) if self._references is not None else ("",)
        if isinstance(right, Unscored):
            return right
        if not case.question.strip() and "{question}" in self._block.prompt:
            return Unscored("not_captured")
        score = await self._judges.ask(
            Question(
                policy=self._policy,
                rubric=self.name,
                version=self.version,
                judge=self._block,
                question=case.question,
                answer=case.answer,
                reference=right[0],
            )
        )
        if not isinstance(score, int):
            self.problem = self._judges.said(self._policy, self.name) if score == "judge_failed" else ""
            return Unscored(score)
        return Scored(score >= self._block.pass_at_least, f"{score} of {self._best}")
