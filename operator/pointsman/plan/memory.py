"""What planning remembers: a policy whose object, revisions and rules are as they were has its old plan.

Nothing here decides anything: with a memory `build` returns the same as without, sooner, and of a policy that
would be planned alike the very same object, so that whoever compares plans need not look into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.plan.types import Finding, PolicyPlan

    Planned = tuple[PolicyPlan, Finding | None]
    Revisions = Mapping[str, RoutingPolicyRevision]


@dataclass(frozen=True, slots=True)
class _Made:
    """A plan and all that it was made of."""

    policy: RoutingPolicy
    rules: Any
    asked: Mapping[str, RoutingPolicyRevision | None]
    planned: Planned

    def holds(self, revisions: Revisions) -> bool:
        """Tell whether the revisions that it was made of are the same objects."""
        return all(revisions.get(name) is revision for name, revision in self.asked.items())


class Memory:
    """The last plan of each policy, of one caller of `build`."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}

    def plan(
        self,
        policy: RoutingPolicy,
        revisions: Revisions,
        rules: Any,
        make: Callable[[RoutingPolicy, Revisions, Any], Planned],
    ) -> Planned:
        """Return what `make` does, anew only if something of it is another object; raises what it raises."""
        known = self._made.pop(policy.key, None)
        if known is not None and known.policy is policy and known.rules == rules and known.holds(revisions):
            self._made[policy.key] = known
            return known.planned
        noted = _Noted(revisions)
        planned = make(policy, noted, rules)
        if known is not None and known.planned == planned:
            planned = known.planned
        self._made[policy.key] = _Made(policy, rules, noted.asked, planned)
        return planned

    def keep(self, keys: frozenset[str]) -> None:
        """Forget all other policies."""
        for key in self._made.keys() - keys:
            del self._made[key]


class _Noted(Mapping[str, "RoutingPolicyRevision"]):
    """Revisions, and which of them were asked for."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self.asked: dict[str, RoutingPolicyRevision | None] = {}

    def __getitem__(self, name: str) -> RoutingPolicyRevision:
        found = self.asked[name] = self._revisions.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._revisions)

    def __len__(self) -> int:
        return len(self._revisions)
