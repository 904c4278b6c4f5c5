"""The scorers of each policy, made anew when its rubrics change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.evaluator.rubrics import scorers

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.rubrics import Rubric
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.rubrics import Library, Scorer


class Shelf:
    """Scorers by policy. A changed rubric is another version; the others go on as they were."""

    def __init__(self, policies: Policies, library: Library) -> None:
        self._policies = policies
        self._library = library
        self._made: dict[str, tuple[tuple[Rubric, ...], tuple[Scorer, ...]]] = {}

    def scorers(self, policy: str) -> tuple[Scorer, ...]:
        """Return the scorers of `namespace/name` as its rubrics are now."""
        facts = self._policies.policy(policy)
        if facts is None or not facts.rubrics:
            self._made.pop(policy, None)
            return ()
        known = self._made.get(policy)
        if known is None or known[0] != facts.rubrics:
            made = tuple(scorers(facts.rubrics, self._library.resources(policy)))
            known = self._made[policy] = (facts.rubrics, made)
        return known[1]
