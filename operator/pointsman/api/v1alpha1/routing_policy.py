"""RoutingPolicy: which traffic, which tiers, how they are chosen."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import matches
from pointsman.api.v1alpha1.evaluation import Evaluation
from pointsman.api.v1alpha1.meta import (
    API_VERSION,
    ApiModel,
    Name,
    ObjectMeta,
    list_of,
    rule,
    rules,
)
from pointsman.api.v1alpha1.rollout import Rollout
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.api.v1alpha1.strategy import Strategy
from pointsman.api.v1alpha1.tiers import ModelName, Tier
from pointsman.api.v1alpha1.triton import Triton

Hostname = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        r"^(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$",
        "must be a lower-case host name without scheme, port or path, for instance llm.example.com; "
        "*.example.com and * are patterns",
    ),
]
"""A host name, `*.` and a domain, or `*`."""


class GatewayRef(ApiModel):
    """The gateway whose Envoys serve the policy."""

    name: Annotated[Name, Field(description="Name of the gateway: Envoy's node.cluster.")]


class Match(ApiModel):
    """Which requests are the policy's: a hostname and a requested model."""

    hostnames: Annotated[
        list[Hostname],
        Field(
            min_length=1,
            max_length=16,
            description="Hostnames, exact or with a leading *. ; * alone matches every host.",
            json_schema_extra=list_of("set"),
        ),
    ]
    models: Annotated[
        list[ModelName],
        Field(
            min_length=1,
            max_length=16,
            description="Values of the request's model that this policy answers for, for instance auto.",
            json_schema_extra=list_of("set"),
        ),
    ]


_STRATEGY_RULES: Final = (
    rule(
        "self.strategy.type != 'Classifier' || has(self.triton)",
        "must be set where strategy.type is Classifier: the classifier runs there; "
        "add triton.managed: {} or triton.external.urls",
        ".triton",
    ),
    rule(
        "!has(self.strategy.pinned) || self.tiers.exists(t, t.name == self.strategy.pinned.tier)",
        "must be the name of one of tiers; correct it or add the tier",
        ".strategy.pinned.tier",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.thresholds) || "
        "self.strategy.classifier.thresholds.all(x, self.tiers.exists(t, t.name == x.tier))",
        "each tier must be the name of one of tiers; correct it or add the tier",
        ".strategy.classifier.thresholds",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.thresholds) || "
        "size(self.tiers) == 0 || "
        "self.strategy.classifier.thresholds.all(x, x.tier != self.tiers[size(self.tiers) - 1].name)",
        "the last tier is the fallback and takes no threshold; "
        "name a cheaper tier and the score from which it is good enough",
        ".strategy.classifier.thresholds",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.perIntent) || "
        "self.strategy.classifier.perIntent.all(x, self.tiers.exists(t, t.name == x.tier))",
        "each tier must be the name of one of tiers; correct it or add the tier",
        ".strategy.classifier.perIntent",
    ),
)


_DIRECT: Final = "has(self.rollout) && has(self.rollout.mode) && self.rollout.mode == 'Direct'"
_NO_SHADOW: Final = (
    "has(self.rollout) && has(self.rollout.shadow) && has(self.rollout.shadow.mode) && "
    "self.rollout.shadow.mode == 'Off'"
)
_CAPTURES: Final = (
    "has(self.evaluation) && has(self.evaluation.capture) && self.evaluation.capture.samplePermille > 0"
)
_EVIDENCE_RULES: Final = (
    rule(
        f"({_DIRECT}) || (has(self.evaluation) && has(self.evaluation.prometheus))",
        "prometheus must be set: a change is proven on counts from there; add evaluation.prometheus.url, "
        "or set rollout.mode: Direct, which proves nothing",
        ".evaluation",
    ),
    rule(
        f"({_DIRECT}) || ({_NO_SHADOW}) || ({_CAPTURES})",
        "capture.samplePermille must be above 0: the shadow asks the candidate about captured requests; "
        "add evaluation.capture, or set rollout.shadow.mode: Off",
        ".evaluation",
    ),
    rule(
        "!has(self.evaluation) || !has(self.evaluation.rubrics) || size(self.evaluation.rubrics) == 0 || "
        f"({_CAPTURES})",
        "capture.samplePermille must be above 0: rubrics are scored on captured text; add evaluation.capture",
        ".evaluation",
    ),
)


class RoutingPolicySpec(ApiModel):
    """What the user wants."""

    gateway_ref: Annotated[GatewayRef, Field(description="The gateway that serves this policy.")]
    match: Annotated[Match, Field(description="Which requests are this policy's.")]
    tiers: Annotated[
        list[Tier],
        Field(
            min_length=1,
            max_length=8,
            description="Models to choose from, cheapest first; the last is the fallback.",
            # atomic, not a map: the order is the meaning
            json_schema_extra=list_of("atomic")
            | rules(
                rule(
                    "self.all(t, self.exists_one(u, u.name == t.name))",
                    "must not have two tiers of the same name; rename one of them",
                )
            ),
        ),
    ]
    strategy: Annotated[Strategy, Field(description="How a request's tier is chosen.")]
    triton: Annotated[Triton | None, Field(description="Where the classifier runs.")] = None
    evaluation: Annotated[Evaluation | None, Field(description="How the traffic is observed.")] = None
    rollout: Annotated[Rollout | None, Field(description="How a change comes into force.")] = None
    suspend: Annotated[
        bool | None,
        Field(description="true freezes the rollout where it is; traffic and guards go on. Default false."),
    ] = None

    model_config = ApiModel.model_config | {"json_schema_extra": rules(*_STRATEGY_RULES, *_EVIDENCE_RULES)}


class RoutingPolicy(ApiModel):
    """Routes the requests for some models on some hosts to the cheapest tier that answers well enough."""

    KIND: ClassVar[str] = "RoutingPolicy"
    PLURAL: ClassVar[str] = "routingpolicies"
    SINGULAR: ClassVar[str] = "routingpolicy"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rp",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "Step", "type": "string", "jsonPath": ".status.step.display"},
        {"name": "Weight", "type": "integer", "jsonPath": ".status.step.weightPermille"},
        {"name": "Verdict", "type": "string", "jsonPath": ".status.verdicts[0].verdict"},
        {"name": "Saved", "type": "string", "jsonPath": ".status.savings.display"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"},
        {"name": "Because", "type": "string", "jsonPath": ".status.step.because", "priority": 1},
        {
            "name": "Message",
            "type": "string",
            "jsonPath": ".status.conditions[?(@.type=='Ready')].message",
            "priority": 1,
        },
    )

    api_version: Literal["pointsman.dev/v1alpha1"] = API_VERSION
    kind: Literal["RoutingPolicy"] = "RoutingPolicy"
    metadata: ObjectMeta
    spec: RoutingPolicySpec
    status: RoutingPolicyStatus = Field(default_factory=RoutingPolicyStatus)

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                # a revision is named <policy>-<10 hex> and must be a label's value: 63 characters
                "self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')",
                "metadata.name: must have at most 52 characters and no dot, as revisions are named after it; "
                "shorten it",
            )
        )
    }

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
