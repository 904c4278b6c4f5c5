"""RoutingPolicyRevision: what decides an answer, frozen."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pointsman.api.v1alpha1.meta import API_VERSION, ApiModel, Name, ObjectMeta, list_of, rule, rules
from pointsman.api.v1alpha1.status import (
    AppliedAction,
    Moment,
    NoiseStatus,
    RolloutStatus,
    StepStatus,
    VerdictStatus,
)
from pointsman.api.v1alpha1.strategy import Strategy
from pointsman.api.v1alpha1.tiers import Tier
from pointsman.api.v1alpha1.triton import Triton


class PolicyRef(ApiModel):
    """A RoutingPolicy of the same namespace."""

    name: Annotated[Name, Field(description="Name of the RoutingPolicy.")]


class RoutingPolicyRevisionSpec(ApiModel):
    """A policy's decisive part, defaults resolved. Hashed are all but prices, keys and Triton's place."""

    policy_ref: Annotated[PolicyRef, Field(description="The policy that this is a revision of.")]
    tiers: Annotated[
        list[Tier],
        Field(
            min_length=1,
            max_length=8,
            description=(
                "Tiers as they were; prices and keys are the policy's current ones, where it has the tier."
            ),
            json_schema_extra=list_of("atomic"),
        ),
    ]
    strategy: Annotated[Strategy, Field(description="Strategy with its defaults resolved.")]
    triton: Annotated[
        Triton | None,
        Field(description="Where the classifier ran when this was frozen; the policy's own rules."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "self == oldSelf",
                "is immutable; change the RoutingPolicy instead, which makes a new revision",
            )
        )
    }


class AttemptRecord(ApiModel):
    """One attempt to bring the revision into force: what was measured, who said what, why it ended."""

    rollout: Annotated[RolloutStatus, Field(description="The rollout, with all of its steps.")]
    last_step: Annotated[StepStatus | None, Field(description="The step that it ended in.")] = None
    verdicts: Annotated[
        list[VerdictStatus],
        Field(
            max_length=20,
            description="The worst verdicts at its end.",
            json_schema_extra=list_of("atomic"),
        ),
    ] = Field(default_factory=list)
    noise: Annotated[NoiseStatus | None, Field(description="The noise that was allowed for.")] = None
    actions: Annotated[
        list[AppliedAction],
        Field(
            max_length=10,
            description="RolloutActions during it: who approved, who aborted.",
            json_schema_extra=list_of("atomic"),
        ),
    ] = Field(default_factory=list)
    recorded_at: Annotated[Moment, Field(description="When this was written.")]


class RoutingPolicyRevisionStatus(ApiModel):
    """The lasting record of decisions. Written by the operator alone."""

    attempts: Annotated[
        list[AttemptRecord],
        Field(
            max_length=3,
            description="The last attempts, newest first.",
            json_schema_extra=list_of("atomic"),
        ),
    ] = Field(default_factory=list)


class RoutingPolicyRevision(ApiModel):
    """One immutable state of a policy. Written by the operator alone."""

    KIND: ClassVar[str] = "RoutingPolicyRevision"
    PLURAL: ClassVar[str] = "routingpolicyrevisions"
    SINGULAR: ClassVar[str] = "routingpolicyrevision"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rprev",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "Policy", "type": "string", "jsonPath": ".spec.policyRef.name"},
        {"name": "Strategy", "type": "string", "jsonPath": ".spec.strategy.type"},
        {"name": "Outcome", "type": "string", "jsonPath": ".status.attempts[0].rollout.outcome"},
        {
            "name": "Because",
            "type": "string",
            "jsonPath": ".status.attempts[0].rollout.because",
            "priority": 1,
        },
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    )

    api_version: Literal["pointsman.dev/v1alpha1"] = API_VERSION
    kind: Literal["RoutingPolicyRevision"] = "RoutingPolicyRevision"
    metadata: ObjectMeta
    spec: RoutingPolicyRevisionSpec
    status: RoutingPolicyRevisionStatus = Field(default_factory=RoutingPolicyRevisionStatus)

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
