"""Which plans Envoys get when one of them is refused: the culprit is found and quarantined, the rest goes on.

Pure: fed with what is desired and what Envoys said, it says what to publish. Envoy refuses a response as a
whole and its words rarely name a policy, so the culprit is found by publishing parts of what changed: a
refused part is halved, an accepted one stays. k culprits among n policies cost O(k log n) pushes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.plan.types import PolicyPlan

_HISTORY: Final = 16
"""Targets that a late NACK can still be about."""


@dataclass(slots=True)
class Held:
    """A policy in quarantine: Envoy's words, and the forms of its plan that Envoy refused."""

    plan: PolicyPlan
    message: str
    refused: set[PolicyPlan] = field(default_factory=set)


def form(plan: PolicyPlan) -> PolicyPlan:
    """Return the plan without what Envoy never sees, so that such a change is none."""
    return replace(plan, generation=0)


def same(one: PolicyPlan | None, other: PolicyPlan | None) -> bool:
    """Tell whether Envoy would see no difference."""
    if one is other:
        return True
    return one is not None and other is not None and form(one) == form(other)


class Quarantine:
    """One gateway's. After every call look at `number`: when it has changed, publish `target`."""

    def __init__(self) -> None:
        self.number = 0
        """Counts targets."""
        self.target: dict[str, PolicyPlan] = {}
        self.complaint = ""
        """Why an Envoy refuses even what others acknowledged (one of another make): nobody is to blame."""
        self.held: dict[str, Held] = {}
        self.good: dict[str, PolicyPlan] = {}
        """The last acknowledged plan of each policy: what it returns to."""
        self._desired: dict[str, PolicyPlan] = {}
        self._groups: list[frozenset[str]] = []
        """While searching: what is still to be tried, last first."""
        self._trial: frozenset[str] = frozenset()
        self._searching = False
        self._history: dict[int, dict[str, PolicyPlan | None]] = {}

    # -- what came in ----------------------------------------------------------------------------------------

    def desire(self, plans: Mapping[str, PolicyPlan], urgent: Iterable[str] = ()) -> None:
        """Want these plans served. During a search only `urgent` ones are taken up at once, on their own."""
        self._desired = dict(plans)
        for key in [k for k, held in self.held.items() if k not in plans or form(plans[k]) != held.plan]:
            del self.held[key]
        if not self._searching:
            self._try(self._changed(plans.keys() | self.good.keys()))
            return
        first = self._changed(urgent)
        if first:
            self._groups = [group - first for group in (*self._groups, self._trial) if group - first]
            self._try(first)

    def learn(self, keys: Iterable[str]) -> None:
        """Know that an Envoy brought these policies' present plans along, from before our own start."""
        for key in keys:
            wish = self._wish(key)
            if wish is not None and key not in self.good and key not in self.held:
                self.good[key] = wish
        if not self._searching:
            self._try(self._changed(self._desired.keys() | self.good.keys()))

    def acked(self, number: int) -> None:
        """Book that every Envoy has this target."""
        if number != self.number:
            return
        self.good = dict(self.target)
        self.complaint = ""
        self._trial = frozenset()
        self._next()

    def nacked(self, number: int, message: str, suspects: frozenset[str] | None = None) -> bool:
        """Book a refusal of a target; `suspects`, if known, are the policies whose resources were refused.

        Return False if no policy can be to blame: then the Envoy itself is in trouble.
        """
        tried = self._history.get(number)
        if tried is None:
            return True
        if not tried or suspects == frozenset():
            self.complaint = message
            return False
        # What was accepted since then is innocent; where a plan was replaced since then, nobody can say.
        unproven = {k: plan for k, plan in tried.items() if plan is not None and self._good_form(k) != plan}
        blamed = frozenset(key for key, plan in unproven.items() if self._form(key) == plan)
        if blamed and len(blamed) == len(unproven):
            self._blame(blamed & suspects if suspects and blamed & suspects else blamed, message)
        elif number == self.number:
            self._trial = frozenset()
            self._next()
            if number == self.number:
                self.complaint = message
                return False
        return True

    # -- the search ------------------------------------------------------------------------------------------

    def _blame(self, blamed: frozenset[str], message: str) -> None:
        """Hold the one culprit, or look for it in halves; whoever was published beside it goes first."""
        innocent = self._trial - blamed
        tainted = innocent != self._trial
        groups = [group - blamed for group in self._groups if group - blamed]
        if len(blamed) == 1:
            (key,) = blamed
            self._hold(key, message)
            parts = [blamed] if self._wish(key) is not None else []
        else:
            ordered = sorted(blamed)
            middle = len(ordered) // 2
            parts = [frozenset(ordered[middle:]), frozenset(ordered[:middle])]
        self._groups = [*groups, *parts]
        if not tainted:
            return
        self._searching = True
        if innocent:
            self._try(innocent)
        else:
            self._next()

    def _hold(self, key: str, message: str) -> None:
        plan = form(self._desired[key])
        held = self.held.setdefault(key, Held(plan, message))
        refused = self._form(key)
        if refused is not None:
            held.refused.add(refused)

    def _next(self) -> None:
        """Try the next group that still differs from what is acknowledged; with none left, everything."""
        while self._groups:
            group = self._changed(self._groups.pop())
            if group:
                self._searching = True
                self._try(group)
                return
        self._searching = False
        self._try(self._changed(self._desired.keys() | self.good.keys()))

    def _try(self, trial: frozenset[str]) -> None:
        """Make the target: what is acknowledged, with the wishes of `trial` in it."""
        target = dict(self.good)
        for key in trial:
            wish = self._wish(key)
            if wish is None:
                target.pop(key, None)
            else:
                target[key] = wish
        self._trial = trial
        before, self.target = self.target, target
        if self.number and target.keys() == before.keys() and all(same(target[k], before[k]) for k in target):
            return
        self.number += 1
        self._history[self.number] = {key: self._form(key) for key in trial}
        self._history.pop(self.number - _HISTORY, None)

    # -- wishes ----------------------------------------------------------------------------------------------

    def _wish(self, key: str) -> PolicyPlan | None:
        """Return the policy's plan, else without what only waits to be used; None if Envoy refused both."""
        plan = self._desired.get(key)
        if plan is None:
            return None
        held = self.held.get(key)
        if held is None:
            return plan
        return next((p for p in (plan, replace(plan, warm=())) if form(p) not in held.refused), None)

    def _form(self, key: str) -> PolicyPlan | None:
        wish = self._wish(key)
        return None if wish is None else form(wish)

    def _changed(self, keys: Iterable[str]) -> frozenset[str]:
        """Return those whose wish is not what is acknowledged; a held one without a wish stays as it is."""
        return frozenset(key for key in keys if self._differs(key))

    def _differs(self, key: str) -> bool:
        wish, good = self._wish(key), self.good.get(key)
        return good is not None and key not in self._desired if wish is None else not same(good, wish)

    def _good_form(self, key: str) -> PolicyPlan | None:
        plan = self.good.get(key)
        return None if plan is None else form(plan)
