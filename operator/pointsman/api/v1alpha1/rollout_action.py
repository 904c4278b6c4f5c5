"""RolloutAction: a person's word in a rollout, with a name, a right of its own and a record."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pointsman.api.v1alpha1.meta import API_VERSION, ApiModel, ObjectMeta, rule, rules
from pointsman.api.v1alpha1.revision import PolicyRef
from pointsman.api.v1alpha1.status import StepName

ActionName = Literal["Approve", "Abort", "Retry", "ForceStrong"]


class RolloutActionSpec(ApiModel):
    """What is asked, of which policy, and by whom. What it names must still be so, or it does nothing."""

    policy_ref: Annotated[PolicyRef, Field(description="The policy that it is about.")]
    action: Annotated[
        ActionName,
        Field(
            description=(
                "Approve: the step that waits for approval may begin. Abort: back to the incumbent. "
                "Retry: try a revision that failed once more, or give an inconclusive step its time again. "
                "ForceStrong: all traffic to the last tier at once."
            )
        ),
    ]
    revision: Annotated[
        str | None,
        Field(max_length=253, description="The candidate that is meant; another one: no effect."),
    ] = None
    step: Annotated[StepName | None, Field(description="The step that is meant; another: no effect.")] = None
    attempt: Annotated[
        int | None, Field(ge=1, le=1000000, description="The attempt that is meant; another: no effect.")
    ] = None
    reason: Annotated[str | None, Field(max_length=512, description="Why, for the record.")] = None
    requested_by: Annotated[
        str, Field(min_length=1, max_length=253, description="Who asks: the user who creates this object.")
    ]

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule("self == oldSelf", "is immutable; create another RolloutAction instead"),
            rule(
                "self.action != 'Approve' || (has(self.revision) && has(self.step))",
                "must be set where action is Approve, and step too: an approval is for one revision and step",
                ".revision",
            ),
        )
    }


class RolloutActionStatus(ApiModel):
    """What became of it, copied from the policy's status.lastActions."""

    effect: Annotated[
        Literal["Applied", "NoEffect"] | None, Field(description="Whether it did anything.")
    ] = None
    message: Annotated[str, Field(max_length=1024, description="What it did, or why nothing.")] = ""


class RolloutAction(ApiModel):
    """One word in a policy's rollout: Approve, Abort, Retry or ForceStrong. It acts once."""

    KIND: ClassVar[str] = "RolloutAction"
    PLURAL: ClassVar[str] = "rolloutactions"
    SINGULAR: ClassVar[str] = "rolloutaction"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rpa",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "Policy", "type": "string", "jsonPath": ".spec.policyRef.name"},
        {"name": "Action", "type": "string", "jsonPath": ".spec.action"},
        {"name": "By", "type": "string", "jsonPath": ".spec.requestedBy"},
        {"name": "Effect", "type": "string", "jsonPath": ".status.effect"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
    )

    api_version: Literal["pointsman.dev/v1alpha1"] = API_VERSION
    kind: Literal["RolloutAction"] = "RolloutAction"
    metadata: ObjectMeta
    spec: RolloutActionSpec
    status: RolloutActionStatus = Field(default_factory=RolloutActionStatus)

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
