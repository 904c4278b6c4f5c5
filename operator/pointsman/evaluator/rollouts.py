"""Rollouts as shadow and gate need them: both arms as Envoy serves them, the step, the settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pointsman import install
from pointsman.api.v1alpha1.settings import settings
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.arms import PlanError, always_strong_arm, revision_arm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.api.v1alpha1.datasets import Dataset
    from pointsman.api.v1alpha1.settings import Settings
    from pointsman.plan.types import ArmPlan, ClassifierPlan, TierPlan


@dataclass(frozen=True, slots=True)
class LiveRollout:
    """A policy's rollout that is under way."""

    policy: str
    """`namespace/name`."""
    gateway: str
    id: str
    incumbent: ArmPlan
    candidate: ArmPlan
    step: str
    """Name of the step that it is in; "" before the first."""
    shadow_steps: frozenset[int]
    """Indexes of its Shadow steps."""
    model: str
    """A model name that clients ask for."""
    settings: Settings
    gate: Dataset | None

    @property
    def namespace(self) -> str:
        """Where the policy and what it refers to lie."""
        return self.policy.partition("/")[0]

    @property
    def reference(self) -> ClassifierPlan | None:
        """The classifier whose intent both arms' counts are labelled with; None: there is none."""
        return self.incumbent.classifier or self.candidate.classifier


class Objects(Protocol):
    """The objects as the API server has them: `policies.Policies`."""

    @property
    def keys(self) -> Sequence[str]:
        """Every policy, as `namespace/name`."""

    def object(self, key: str) -> RoutingPolicy | None:
        """Return a policy."""

    def revision_object(self, policy: str, name: str) -> RoutingPolicyRevision | None:
        """Return a policy's revision."""


class Rollouts:
    """The live rollouts of all policies, planned anew only when an object has changed."""

    def __init__(self, objects: Objects, system_namespace: str = install.SYSTEM_NAMESPACE) -> None:
        """`system_namespace` is where the pools of managed Tritons lie."""
        self._objects = objects
        self._system_namespace = system_namespace
        self._known: dict[str, tuple[tuple[object, ...], LiveRollout | None]] = {}

    def get(self, policy: str) -> LiveRollout | None:
        """Return a policy's live rollout; None: there is none, or one of its revisions is not known yet."""
        found = self._objects.object(policy)
        rollout = found.status.rollout if found is not None else None
        if found is None or rollout is None or rollout.ended_at is not None:
            self._known.pop(policy, None)
            return None
        revisions = [
            self._objects.revision_object(policy, name) for name in (rollout.incumbent, rollout.candidate)
        ]
        sources = (found, *revisions)
        known = self._known.get(policy)
        if known is None or any(one is not other for one, other in zip(known[0], sources, strict=True)):
            planned = live_rollout(found, revisions[0], revisions[1], self._system_namespace)
            known = self._known[policy] = (sources, planned)
        return known[1]

    def all(self) -> Iterator[LiveRollout]:
        """Yield every live rollout."""
        for policy in self._objects.keys:
            rollout = self.get(policy)
            if rollout is not None:
                yield rollout


def live_rollout(
    policy: RoutingPolicy,
    incumbent: RoutingPolicyRevision | None,
    candidate: RoutingPolicyRevision | None,
    system_namespace: str = install.SYSTEM_NAMESPACE,
) -> LiveRollout | None:
    """Return a policy's live rollout; None: there is none, or an arm is not known or cannot be planned."""
    rollout = policy.status.rollout
    if rollout is None or rollout.ended_at is not None:
        return None
    arms = (
        _arm(policy, incumbent, rollout.incumbent, system_namespace),
        _arm(policy, candidate, rollout.candidate, system_namespace),
    )
    if arms[0] is None or arms[1] is None:
        return None
    evaluation = policy.spec.evaluation
    return LiveRollout(
        policy=policy.key,
        gateway=policy.spec.gateway_ref.name,
        id=rollout.id,
        incumbent=arms[0],
        candidate=arms[1],
        step=rollout.steps[-1].name if rollout.steps else "",
        shadow_steps=frozenset(step.index for step in rollout.steps if step.name == "Shadow"),
        model=policy.spec.match.models[0],
        settings=settings(policy.spec),
        gate=evaluation.gate.dataset if evaluation is not None and evaluation.gate is not None else None,
    )


def triton_urls(classifier: ClassifierPlan) -> tuple[str, ...]:
    """Return the base URLs of the Triton servers that a classifier runs on."""
    return tuple(f"http://{address}" for address in classifier.triton.addresses)


def tier_of(arm: ArmPlan, name: str) -> TierPlan | None:
    """Return an arm's tier by its name."""
    return next((tier for tier in arm.tiers if tier.name == name), None)


def _arm(
    policy: RoutingPolicy, revision: RoutingPolicyRevision | None, name: str, system_namespace: str
) -> ArmPlan | None:
    """Return the arm of one of the policy's revisions, as xds plans it."""
    try:
        if name == ALWAYS_STRONG:
            return always_strong_arm(policy, 0)
        return revision_arm(policy, revision, 0, system_namespace) if revision is not None else None
    except PlanError:
        return None  # the operator says so in the policy's status
