"""How a change comes into force: proven step by step, watched only, or at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import duration_between, matches
from pointsman.api.v1alpha1.meta import ApiModel, Permille, list_of, rule, rules

Decimal = Annotated[
    str,
    Field(min_length=1, max_length=16),
    matches(
        r"^[0-9]{1,6}(\.[0-9]{1,6})?$",
        'must be a decimal number as a string, for instance "1.5"; no sign, unit or exponent',
    ),
]
"""A non-negative decimal number as a string: the API has no floats."""

_Long = Annotated[str, Field(max_length=32), duration_between("1s", "8760h", "24h")]


class Noise(ApiModel):
    """How the incumbent's own wobble is measured: its sessions split into halves, window by window."""

    window: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1s", "24h", "15m")] | None,
        Field(description="Length of the windows that evidence is cut into. Default 15m."),
    ] = None
    min_windows: Annotated[
        int | None,
        Field(ge=4, le=1000, description="Windows of the incumbent before anything is compared. Default 8."),
    ] = None
    multiplier: Annotated[
        Decimal | None,
        Field(description='How many times the measured noise is allowed for. Default "1.5".'),
    ] = None
    max_duration: Annotated[
        _Long | None, Field(description="Longest wait for minWindows; then onInconclusive. Default 24h.")
    ] = None


class Shadow(ApiModel):
    """The candidate answers captured requests off the path, scored beside the incumbent's answers."""

    mode: Annotated[
        Literal["On", "Off"] | None,
        Field(description="Off: the first canary step's weight is then the bound on harm. Default On."),
    ] = None
    sample_permille: Annotated[
        Permille | None,
        Field(description="Share of the captured requests that the candidate is asked about. Default 100."),
    ] = None
    min_pairs: Annotated[
        int | None,
        Field(ge=20, le=1000000, description="Scored pairs before the shadow may pass. Default 200."),
    ] = None
    max_duration: Annotated[
        _Long | None, Field(description="Longest shadow; then onInconclusive. Default 24h.")
    ] = None
    budget_usd_per_hour: Annotated[
        Decimal | None,
        Field(
            alias="budgetUSDPerHour",
            description='What the candidate\'s shadow answers may cost an hour, in US dollars. Default "2".',
        ),
    ] = None


class CanaryStep(ApiModel):
    """One weight of the candidate, and how long it is held at least."""

    weight_permille: Annotated[
        int, Field(ge=1, le=999, description="The candidate's share of the traffic, in permille.")
    ]
    min_duration: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1s", "720h", "15m")] | None,
        Field(description="How long this weight is held at least. Default 15m."),
    ] = None


class StickyBy(ApiModel):
    """What keeps a client on one arm."""

    type: Annotated[
        Literal["Conversation", "Header"],
        Field(
            description=(
                "Conversation: system prompt and first user turn. Header: the value of a request header "
                "(Conversation where it is missing)."
            )
        ),
    ]
    header: Annotated[
        Annotated[
            str,
            Field(min_length=1, max_length=64),
            matches(
                r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "must be the lower-case name of a request header, for instance x-session-id",
            ),
        ]
        | None,
        Field(description="Name of the header, where type is Header."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(self.type == 'Header') == has(self.header)",
                "must be set where type is Header, and only there; for instance x-session-id",
                ".header",
            )
        )
    }


class Canary(ApiModel):
    """The candidate serves a growing share of the clients."""

    sticky_by: Annotated[
        StickyBy | None, Field(description="What keeps a client on one arm. Default type Conversation.")
    ] = None
    steps: Annotated[
        list[CanaryStep],
        Field(
            min_length=1,
            max_length=12,
            description="Weights in rising order. Default 10, 50, 250 and 500 permille of 15m each.",
            json_schema_extra=list_of("atomic"),
        ),
    ] = Field(
        default_factory=lambda: [
            CanaryStep(weight_permille=w, min_duration="15m") for w in (10, 50, 250, 500)
        ]
    )
    max_duration: Annotated[
        _Long | None,
        Field(description="Longest canary, all steps; then onInconclusive. Default 72h."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.steps) || self.steps.all(s, self.steps.exists_one(t, t.weightPermille == "
                "s.weightPermille)) && self.steps.map(s, s.weightPermille).isSorted()",
                "weightPermille must rise from step to step; sort the steps and drop doubles",
                ".steps",
            )
        )
    }


class Verdict(ApiModel):
    """What a user minds, and how sure a verdict must be. Drops are of a rubric's pass rate."""

    minimum_drop_permille: Annotated[
        Permille | None,
        Field(description="Proven to be beyond this, the candidate fails. Default 10 (one point)."),
    ] = None
    tolerated_drop_permille: Annotated[
        Permille | None,
        Field(description="Proven to be within this, the candidate may be promoted. Default 30."),
    ] = None
    false_alarm_permille: Annotated[
        int | None,
        Field(ge=1, le=200, description="Chance of rolling an equally good candidate back. Default 10."),
    ] = None
    false_pass_permille: Annotated[
        int | None,
        Field(ge=1, le=200, description="Chance of passing a candidate beyond a margin. Default 50."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(has(self.minimumDropPermille) ? self.minimumDropPermille : 10) < "
                "(has(self.toleratedDropPermille) ? self.toleratedDropPermille : 30)",
                "must be above minimumDropPermille (10 where unset): what lies between the two is undecided; "
                "raise it or lower minimumDropPermille",
                ".toleratedDropPermille",
            )
        )
    }


ApprovedStep = Literal["Canary", "Promotion"]


class Rollout(ApiModel):
    """How a change comes into force."""

    mode: Annotated[
        Literal["Progress", "Observe", "Direct"] | None,
        Field(
            description=(
                "Progress: proven by gate, shadow and canary, then promoted. Observe: shadowed for ever, no "
                "traffic moves. Direct: in force as soon as its classifier is ready, proven by nobody. "
                "Default Progress."
            )
        ),
    ] = None
    first: Annotated[
        Literal["Prove", "Direct"] | None,
        Field(
            description=(
                "The first revision of a policy. Prove: like any other, against always-strong. "
                "Direct: as soon as its classifier is ready. Default Prove."
            )
        ),
    ] = None
    noise: Annotated[Noise | None, Field(description="How the incumbent's noise is measured.")] = None
    shadow: Annotated[Shadow | None, Field(description="Answers off the path, before any traffic.")] = None
    canary: Annotated[Canary | None, Field(description="A growing share of the traffic.")] = None
    verdict: Annotated[Verdict | None, Field(description="Margins, and how sure to be.")] = None
    on_inconclusive: Annotated[
        Literal["Pause", "Rollback"] | None,
        Field(
            description=(
                "When a step's time is over without a verdict. Pause: hold the weight until somebody acts. "
                "Rollback: back to the incumbent. Default Pause."
            )
        ),
    ] = None
    approval: Annotated[
        list[ApprovedStep],
        Field(
            max_length=2,
            description="Steps that begin only after a RolloutAction says Approve.",
            json_schema_extra=list_of("set"),
        ),
    ] = Field(default_factory=list)
    keep_warm: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1s", "8760h", "24h")] | None,
        Field(description="How long a replaced revision stays ready for an instant return. Default 24h."),
    ] = None
