"""ExactMatch: what is extracted from the answer equals the reference of the request's last user turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pointsman.evaluator import datasets
from pointsman.evaluator.rubrics.base import OFF_LOOP, NotReadyError, RubricScorer
from pointsman.evaluator.rubrics.patterns import Extraction
from pointsman.evaluator.rubrics.types import Scored, Unscored
from pointsman.evaluator.sources import SourceError

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.datasets import RubricReference
    from pointsman.api.v1alpha1.rubrics import ExactMatch, Rubric
    from pointsman.evaluator.datasets import Loaded
    from pointsman.evaluator.rubrics.types import Case
    from pointsman.evaluator.sources import Files


class References:
    """A rubric's references."""

    def __init__(
        self, sources: Files[Loaded], namespace: str, reference: RubricReference, field: str
    ) -> None:
        """`field` is the path of `reference` in the policy, for messages."""
        self._sources = sources
        self._source = datasets.source(namespace, reference.dataset)
        self._field = f"{field}.dataset"

    async def of(self, case: Case) -> tuple[str, ...] | Unscored:
        """Return what counts as right for a request; `NotReadyError`."""
        if not case.turn_sha256:
            return Unscored("not_captured" if case.body is None else "no_reference")
        try:
            loaded = await self._sources.get(self._source)
        except SourceError as error:
            raise NotReadyError(f"{self._field}: {error}") from None
        return loaded.references.get(case.turn_sha256) or Unscored("no_reference")


class ExactMatchScorer(RubricScorer):
    """Equality with a reference."""

    def __init__(self, rubric: Rubric, policy: str, block: ExactMatch, references: References) -> None:
        super().__init__(rubric, policy)
        self._extract = Extraction(block.extract)
        self._fold = bool(block.ignore_case)
        self._references = references

    async def _scored(self, case: Case) -> Scored | Unscored:
        # Before the answer is looked at: an empty answer to a question without reference is no failure.
        right = await self._references.of(case)
        return right if isinstance(right, Unscored) else await super()._scored(case)

    async def whole(self, case: Case) -> Scored | Unscored:
        """Compare with every reference of the turn."""
        right = await self._references.of(case)
        if isinstance(right, Unscored):
            return right
        if len(case.answer) > OFF_LOOP:
            found = await asyncio.to_thread(self._extract, case.answer)
        else:
            found = self._extract(case.answer)
        if found is None:
            return Scored(passed=False, note="nothing extracted")
        return Scored(any(self._same(found, reference) for reference in right))

    def _same(self, found: str, reference: str) -> bool:
        reference = reference.strip()
        return found.casefold() == reference.casefold() if self._fold else found == reference
