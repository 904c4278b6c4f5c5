"""The demo's acts, and what the recorded verdicts say that each of their policies will do. Pure.

Nothing here decides in the demo: it is the answer key that the demo is marked by. An act's policy is read
from its example, every test prompt is sent through it on paper, and the drop that the product must find (or
must not find) is known to the last prompt before the first request is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pointsman.api.v1alpha1.status import Outcome
from pointsman.lab.controlplane import REPOSITORY
from pointsman.triton.backend.request import bound
from pointsman.triton.bundle import Bundle, classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pointsman.api.v1alpha1.routing_policy import RoutingPolicySpec
    from pointsman.routers.dataset import Problem

EXAMPLE: Final = REPOSITORY / "examples" / "02-rollout"
PERMILLE: Final = 1000
_HIDDEN_PERMILLE: Final = 20
_DAMAGE_PERMILLE: Final = 200

Kind = Literal["better", "hidden", "broken"]
"""What the candidate is: no worse and cheaper; worse in one intent only; the same, on a tier that breaks."""
Fault = Literal["errors", "empty"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One policy that is applied, and how it must end."""

    file: str
    kind: Kind
    ends: Outcome
    fault: Fault | None = None
    """What the candidate's own tier is told to do once the canary has begun."""

    @property
    def path(self) -> Path:
        """Where its manifest is."""
        return EXAMPLE / self.file


@dataclass(frozen=True, slots=True)
class Act:
    """A part of the demo."""

    number: int
    title: str
    scenes: tuple[Scene, ...]
    incumbent: str | None
    """File of the policy that is in force when it begins; None: always-strong."""


_FIRST, _BETTER = "1-first.yaml", "2-better.yaml"
ACTS: Final = (
    Act(1, "a first policy proves itself", (Scene(_FIRST, "better", "Promoted"),), None),
    Act(2, "a better policy", (Scene(_BETTER, "better", "Promoted"),), _FIRST),
    Act(3, "a policy that hides its damage", (Scene("3-hidden.yaml", "hidden", "ShadowFailed"),), _BETTER),
    Act(4, "the same kind, with shadow off", (Scene("4-no-shadow.yaml", "hidden", "RolledBack"),), _BETTER),
    Act(
        5,
        "a candidate whose own tier breaks",
        (
            Scene("5-own-tier.yaml", "broken", "RolledBack", "errors"),
            Scene("6-own-tier-again.yaml", "broken", "RolledBack", "empty"),
        ),
        _BETTER,
    ),
)


@dataclass(frozen=True, slots=True)
class Population:
    """The prompts that are sent, as the classifier sees them. Rows are the problem's."""

    problem: Problem
    scores: NDArray[np.float32]
    """[n, T]."""
    intents: tuple[str, ...]
    """As the classifier names them: what verdicts are about."""

    @classmethod
    def of(cls, problem: Problem, bundle: Bundle) -> Population:
        """Ask the classifier about every prompt, by the code that serves."""
        scorer = classifier(bundle)
        scored = [scorer.score(bound(text)) for text in problem.texts]
        scores = np.array([one.scores for one in scored], dtype=np.float32)
        return cls(problem, scores, tuple(one.intent for one in scored))


@dataclass(frozen=True, slots=True)
class Change:
    """What a candidate does to the prompts that an incumbent serves. Drops are in permille, money in USD."""

    drop: float
    """Incumbent minus candidate, over all prompts."""
    by_intent: Mapping[str, float]
    """The same within each intent that the classifier names."""
    by_subject: Mapping[str, float]
    """The same by the data's own subjects: what a perfect classifier would name."""
    accuracy: tuple[float, float]
    """Share of right answers of incumbent and candidate."""
    cost: tuple[float, float]
    """Of one pass through all prompts."""
    differ: float
    """Share of the prompts whose model changes."""

    @property
    def worst(self) -> tuple[str, float]:
        """The intent that loses most, and what it loses."""
        return max(self.by_intent.items(), key=lambda item: item[1])

    @property
    def saved(self) -> float:
        """Share of the incumbent's cost that the candidate does without."""
        return 1 - self.cost[1] / self.cost[0]


def choices(spec: RoutingPolicySpec | None, population: Population) -> NDArray[np.int64]:
    """Return the model [n] that each prompt gets, as its place in the problem; None: always-strong.

    The rule of the data plane: a fixed tier of the intent, else the cheapest tier that reaches its
    threshold, else the last.
    """
    problem = population.problem
    if spec is None:
        return np.full(len(problem), len(problem.tiers) - 1)
    place = {tier.name: problem.tiers.index(tier.model) for tier in spec.tiers}
    rules = spec.strategy.classifier
    chosen = np.full(len(problem), place[spec.tiers[-1].name])
    if rules is None:
        return chosen
    least = {threshold.tier: threshold.min_score_permille for threshold in rules.thresholds}
    for at, tier in reversed(list(enumerate(spec.tiers))):
        if tier.name in least:
            chosen[population.scores[:, at] >= least[tier.name] / PERMILLE] = place[tier.name]
    intents = np.array(population.intents)
    for rule in rules.per_intent:
        chosen[intents == rule.intent] = place[rule.tier]
    return chosen


def compare(incumbent: NDArray[np.int64], candidate: NDArray[np.int64], population: Population) -> Change:
    """Hold two ways of routing the same prompts against each other."""
    problem = population.problem
    rows = np.arange(len(problem))
    before, after = problem.correct[rows, incumbent], problem.correct[rows, candidate]
    lost = PERMILLE * (before - after)
    return Change(
        drop=float(lost.mean()),
        by_intent=_means(lost, population.intents),
        by_subject=_means(lost, problem.intents),
        accuracy=(float(before.mean()), float(after.mean())),
        cost=(
            float(np.nansum(problem.cost_usd[rows, incumbent])),
            float(np.nansum(problem.cost_usd[rows, candidate])),
        ),
        differ=float((incumbent != candidate).mean()),
    )


def problems(kind: Kind, change: Change, minimum_drop_permille: int) -> list[str]:
    """Say why the recorded verdicts do not make the candidate what its act calls it; empty: they do."""
    intent, worst = change.worst
    found = []
    if kind != "broken" and change.saved <= 0:
        found.append("it saves nothing")
    if kind == "hidden":
        if change.drop > _HIDDEN_PERMILLE:
            found.append(f"it loses {change.drop:.1f} permille on average: that is not hidden")
        if worst < _DAMAGE_PERMILLE:
            found.append(f"its worst intent, {intent}, loses only {worst:.1f} permille")
        return found
    if worst >= minimum_drop_permille:
        found.append(f"{intent} loses {worst:.1f} permille: not less than minimumDropPermille")
    if kind == "better" and change.drop > PERMILLE / 100:
        found.append(f"it loses {change.drop:.1f} permille on average")
    if kind == "broken" and change.differ:
        found.append("it decides otherwise than the incumbent")
    return found


def _means(values: NDArray[np.float64], labels: Sequence[str]) -> dict[str, float]:
    keys = np.array(labels)
    return {key: float(values[keys == key].mean()) for key in sorted(set(labels))}
