"""What is in force, where the rollout is, why, and how it ended. Written by the operator alone."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from pointsman.api.v1alpha1.meta import UNSEEN, ApiModel, Condition, list_map, list_of
from pointsman.api.v1alpha1.triton import Triton

StepName = Literal["Gate", "Load", "Noise", "Shadow", "Canary", "Promotion", "Stable", "RolledBack"]
StepState = Literal["Running", "AwaitingApproval", "Paused", "Inconclusive", "Done"]
Outcome = Literal[
    "Promoted", "RolledBack", "ShadowFailed", "GateFailed", "Superseded", "Aborted", "ForcedStrong"
]

Revision = Annotated[str, Field(max_length=253)]
Moment = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339, with microseconds where evidence is cut at it."""
MOST: Final = 1_000_000_000_000
"""Bound of a count: beyond what any policy will see."""
Words = Annotated[str, Field(max_length=1024)]
Drop = Annotated[int, Field(ge=-1000, le=1000)]
"""A difference of pass rates, incumbent minus candidate, in permille."""


class TrafficShare(ApiModel):
    """One revision's part of the traffic."""

    revision: Annotated[
        str, Field(max_length=253, description="Name of a RoutingPolicyRevision, or always-strong.")
    ]
    weight_permille: Annotated[
        int, Field(ge=0, le=1000, description="Its share of the traffic, in permille.")
    ]


class RolloutStep(ApiModel):
    """One step that a rollout went through, or one weight."""

    index: Annotated[int, Field(ge=0, le=63, description="Position; the label `step` of its counts.")]
    name: Annotated[StepName, Field(description="The step.")]
    weight_permille: Annotated[
        int, Field(ge=0, le=1000, description="The candidate's share of the traffic during it.")
    ] = 0
    started_at: Annotated[Moment, Field(description="When it began.")]


class RolloutStatus(ApiModel):
    """The rollout that is under way, or the last one. One attempt of one candidate."""

    id: Annotated[str, Field(max_length=16, description="Names this attempt in metrics and logs.")]
    candidate: Annotated[Revision, Field(description="The revision that is tried.")]
    incumbent: Annotated[Revision, Field(description="What it is compared with; always-strong at first.")]
    attempt: Annotated[int, Field(ge=1, le=1000000, description="Which attempt of this candidate.")] = 1
    started_at: Annotated[Moment, Field(description="When it began.")]
    steps: Annotated[
        list[RolloutStep],
        Field(max_length=64, description="Every step so far.", json_schema_extra=list_map("index")),
    ] = Field(default_factory=list)
    ended_at: Annotated[Moment | None, Field(description="When it ended.")] = None
    outcome: Annotated[Outcome | None, Field(description="How it ended.")] = None
    because: Annotated[Words, Field(description="Why it ended, with numbers.")] = ""


class StepStatus(ApiModel):
    """Where the rollout is, and what it waits for."""

    name: Annotated[StepName, Field(description="The step.")]
    index: Annotated[int, Field(ge=0, le=63, description="Position in rollout.steps.")] = 0
    state: Annotated[StepState, Field(description="Running, or what holds it.")] = "Running"
    started_at: Annotated[Moment, Field(description="When it began.")]
    deadline: Annotated[Moment | None, Field(description="When it ends without a verdict.")] = None
    because: Annotated[Words, Field(description="Why it is here, and what it waits for.")] = ""
    samples_needed: Annotated[
        int | None,
        Field(ge=0, le=MOST, description="Scored candidate answers that are still needed, estimated."),
    ] = None
    minutes_needed: Annotated[
        int | None,
        Field(ge=0, le=MOST, description="Minutes until the next step at the present rate, estimated."),
    ] = None
    expected_hours: Annotated[
        str | None,
        Field(max_length=16, description="Hours from here to promotion at the present rate, estimated."),
    ] = None
    advice: Annotated[Words, Field(description="What would make it faster, where it takes long.")] = ""
    display: Annotated[str, Field(max_length=64, description="The step for people: Canary 2/4.")] = ""
    counted_at: Annotated[
        Moment | None, Field(description="When the numbers here and in verdicts were last written.")
    ] = None
    weight_permille: Annotated[
        int | None, Field(ge=0, le=1000, description="The candidate's share of the traffic now.")
    ] = None


class VerdictStatus(ApiModel):
    """What the counts say of one rubric, overall or in one intent. Drops are in permille."""

    rubric: Annotated[str, Field(max_length=63, description="Name of the rubric.")]
    intent: Annotated[
        str, Field(max_length=128, description="The intent; empty: all traffic; (pooled): the small ones.")
    ] = ""
    stage: Annotated[Literal["Gate", "Shadow", "Canary"], Field(description="Where it was measured.")]
    incumbent: Annotated[int, Field(ge=0, le=MOST, description="Scored answers of the incumbent.")] = 0
    candidate: Annotated[int, Field(ge=0, le=MOST, description="Scored answers of the candidate.")] = 0
    drop_permille: Annotated[Drop, Field(description="Incumbent minus candidate, as measured.")] = 0
    low_permille: Annotated[Drop, Field(description="The drop is at least this.")] = -1000
    high_permille: Annotated[Drop, Field(description="The drop is at most this.")] = 1000
    fail_beyond_permille: Annotated[Drop, Field(description="Fails when low is proven beyond it.")] = 0
    pass_within_permille: Annotated[Drop, Field(description="Passes this step when high is below it.")] = 0
    verdict: Annotated[
        Literal["Pass", "Fail", "Undecided", "Error"], Field(description="What follows from it.")
    ]
    because: Annotated[Words, Field(description="In words.")] = ""


class NoiseOfRubric(ApiModel):
    """One rubric's noise. Standard deviations of one window's pass rate, in permille, as decimal strings."""

    rubric: Annotated[str, Field(max_length=63, description="Name of the rubric.")]
    tau_permille: Annotated[str, Field(max_length=12, description="Measured.")]
    tau_star_permille: Annotated[str, Field(max_length=12, description="Allowed for.")]
    phi: Annotated[str, Field(max_length=12, description="Overdispersion by session; 1 is none.")]


class NoiseStatus(ApiModel):
    """The incumbent's own wobble."""

    revision: Annotated[Revision, Field(description="The revision that was measured.")]
    windows: Annotated[int, Field(ge=0, le=MOST, description="Windows that were measured.")]
    window: Annotated[str, Field(max_length=32, description="Their length.")]
    rubrics: Annotated[
        list[NoiseOfRubric],
        Field(max_length=32, description="By rubric.", json_schema_extra=list_map("rubric")),
    ] = Field(default_factory=list)


class FailedRevision(ApiModel):
    """A revision that was tried and failed."""

    revision: Annotated[Revision, Field(description="Its name.")]
    outcome: Annotated[Outcome, Field(description="How it ended.")]
    because: Annotated[Words, Field(description="Why.")] = ""
    at: Annotated[Moment, Field(description="When.")]
    attempts: Annotated[int, Field(ge=1, le=1000000, description="How often it was tried.")] = 1


class WarmRevision(ApiModel):
    """A replaced revision that can return at once."""

    revision: Annotated[Revision, Field(description="Its name.")]
    until: Annotated[Moment, Field(description="Until when it is kept ready.")]


class AppliedAction(ApiModel):
    """A RolloutAction and what it did, written together with what it did."""

    uid: Annotated[str, Field(max_length=64, description="Its uid: it acts once.")]
    name: Annotated[str, Field(max_length=253, description="Its name.")]
    action: Annotated[str, Field(max_length=32, description="What it asked for.")]
    requested_by: Annotated[str, Field(max_length=253, description="Who asked.")] = ""
    effect: Annotated[
        Literal["Applied", "NoEffect"], Field(description="NoEffect: it was stale; message says why.")
    ]
    message: Annotated[Words, Field(description="What it did, or why nothing.")] = ""
    created_at: Annotated[Moment, Field(description="When it was created.")]
    at: Annotated[Moment, Field(description="When it was looked at.")]


class Savings(ApiModel):
    """What the revision in force saves against the last tier for all: an estimate from the same tokens."""

    permille: Annotated[int, Field(ge=-100000, le=1000, description="Share of the cost that is saved.")]
    requests: Annotated[int, Field(ge=0, le=MOST, description="Priced requests that it was computed from.")]
    display: Annotated[str, Field(max_length=32, description="For people: 29 %.")] = ""


class RoutingPolicyStatus(ApiModel):
    """What is in force, and why. Written by the operator alone."""

    observed_generation: Annotated[
        int | None,
        Field(
            ge=UNSEEN, le=MOST, description="metadata.generation that this status is about; -1: of none yet."
        ),
    ] = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            description="Accepted, ClassifierReady, Programmed, Progressing, summed up in Ready.",
            json_schema_extra=list_map("type"),
        ),
    ] = Field(default_factory=list)
    stable_revision: Annotated[
        str | None, Field(max_length=253, description="The revision that has proven itself.")
    ] = None
    candidate_revision: Annotated[
        str | None, Field(max_length=253, description="The revision on its way, if any.")
    ] = None
    failed_revisions: Annotated[
        list[FailedRevision],
        Field(max_length=5, description="The last that failed.", json_schema_extra=list_map("revision")),
    ] = Field(default_factory=list)
    traffic: Annotated[
        list[TrafficShare],
        Field(
            max_length=4,
            description="The traffic in force. Empty means always-strong: all of it to the last tier.",
            json_schema_extra=list_map("revision"),
        ),
    ] = Field(default_factory=list)
    warm: Annotated[
        list[WarmRevision],
        Field(
            max_length=3,
            description="Replaced revisions that can return at once.",
            json_schema_extra=list_map("revision"),
        ),
    ] = Field(default_factory=list)
    rollout: Annotated[RolloutStatus | None, Field(description="The rollout under way, or the last one.")] = (
        None
    )
    step: Annotated[StepStatus | None, Field(description="Where it is and what it waits for.")] = None
    verdicts: Annotated[
        list[VerdictStatus],
        Field(max_length=20, description="The worst verdicts first.", json_schema_extra=list_of("atomic")),
    ] = Field(default_factory=list)
    triton: Annotated[
        Triton | None,
        Field(
            description=(
                "Where the classifiers in force are asked. A new place of spec.triton takes over once it "
                "holds what traffic needs."
            )
        ),
    ] = None
    noise: Annotated[NoiseStatus | None, Field(description="The incumbent's own wobble.")] = None
    savings: Annotated[Savings | None, Field(description="What is saved.")] = None
    last_actions: Annotated[
        list[AppliedAction],
        Field(
            max_length=10,
            description="The last RolloutActions and what they did.",
            json_schema_extra=list_map("uid"),
        ),
    ] = Field(default_factory=list)
