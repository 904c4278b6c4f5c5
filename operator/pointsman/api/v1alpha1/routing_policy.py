"""RoutingPolicy: which traffic, which tiers, how they are chosen."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from pointsman.api.v1alpha1.evaluation import Evaluation
from pointsman.api.v1alpha1.meta import API_VERSION, ApiModel, Condition, Name, ObjectMeta, rule, rules
from pointsman.api.v1alpha1.strategy import Strategy
from pointsman.api.v1alpha1.tiers import Tier

Hostname = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$",
    ),
]
ModelName = Annotated[str, Field(min_length=1, max_length=253, pattern=r'^[^"\\\x00-\x1f]+$')]


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
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]
    models: Annotated[
        list[ModelName],
        Field(
            min_length=1,
            max_length=16,
            description="Values of the request's model that this policy answers for, for instance auto.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]


TritonUrl = Annotated[
    str,
    Field(
        min_length=8,
        max_length=512,
        pattern=r"^http://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:[0-9]{1,5}$",
    ),
]


class TritonExternal(ApiModel):
    """Triton servers that somebody else runs. Every one is kept loaded."""

    urls: Annotated[
        list[TritonUrl],
        Field(
            min_length=1,
            max_length=16,
            description="HTTP addresses of the replicas themselves (not of a Service), http://HOST:PORT.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]


class Triton(ApiModel):
    """Where the classifier runs."""

    external: Annotated[TritonExternal, Field(description="Triton servers that exist already.")]


class Rollout(ApiModel):
    """How a change comes into force."""

    first: Annotated[
        Literal["Direct"],
        Field(
            description=(
                "How a revision comes into force. Direct: as soon as its classifier is ready. "
                "Must be written, so that a later default surprises nobody."
            )
        ),
    ]


_STRATEGY_RULES: Final = (
    rule(
        "(self.strategy.type == 'Classifier') == has(self.strategy.classifier)",
        "strategy: type Classifier needs strategy.classifier, and no other type takes it; set one or change type",
    ),
    rule(
        "(self.strategy.type == 'Pinned') == has(self.strategy.pinned)",
        "strategy: type Pinned needs strategy.pinned, and no other type takes it; set one or change type",
    ),
    rule(
        "self.strategy.type != 'Classifier' || has(self.triton)",
        "triton: a Classifier needs a Triton to run on; set triton.external.urls",
    ),
    rule(
        "!has(self.strategy.pinned) || self.tiers.exists(t, t.name == self.strategy.pinned.tier)",
        "strategy.pinned.tier: must be the name of one of tiers",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.thresholds) || "
        "self.strategy.classifier.thresholds.all(x, self.tiers.exists(t, t.name == x.tier))",
        "strategy.classifier.thresholds: each tier must be the name of one of tiers",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.thresholds) || "
        "self.strategy.classifier.thresholds.all(x, x.tier != self.tiers[size(self.tiers) - 1].name)",
        "strategy.classifier.thresholds: the last tier is the fallback and takes no threshold; "
        "name a cheaper tier and the score from which it is good enough",
    ),
    rule(
        "!has(self.strategy.classifier) || !has(self.strategy.classifier.perIntent) || "
        "self.strategy.classifier.perIntent.all(x, self.tiers.exists(t, t.name == x.tier))",
        "strategy.classifier.perIntent: each tier must be the name of one of tiers",
    ),
    rule(
        "!has(self.strategy.classifier) || "
        "(has(self.strategy.classifier.thresholds) && size(self.strategy.classifier.thresholds) > 0) || "
        "(has(self.strategy.classifier.perIntent) && size(self.strategy.classifier.perIntent) > 0)",
        "strategy.classifier: set thresholds or perIntent, or every request goes to the last tier "
        "(which type Pinned says more plainly)",
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
            json_schema_extra={"x-kubernetes-list-type": "atomic"}
            | rules(
                rule(
                    "self.all(t, self.exists_one(u, u.name == t.name))",
                    "tiers: names must be unique; rename one of them",
                )
            ),
        ),
    ]
    strategy: Annotated[Strategy, Field(description="How a request's tier is chosen.")]
    triton: Annotated[Triton | None, Field(description="Where the classifier runs.")] = None
    evaluation: Annotated[Evaluation | None, Field(description="How the traffic is observed.")] = None
    rollout: Annotated[Rollout, Field(description="How a change comes into force.")]
    suspend: Annotated[
        bool | None,
        Field(description="true freezes the rollout where it is; traffic and guards go on. Default false."),
    ] = None

    model_config = ApiModel.model_config | {"json_schema_extra": rules(*_STRATEGY_RULES)}


class TrafficShare(ApiModel):
    """One revision's part of the traffic."""

    revision: Annotated[
        str, Field(max_length=253, description="Name of a RoutingPolicyRevision, or always-strong.")
    ]
    weight_permille: Annotated[
        int, Field(ge=0, le=1000, description="Its share of the traffic, in permille.")
    ]


class RoutingPolicyStatus(ApiModel):
    """What is in force, and why. Written by the operator alone."""

    observed_generation: Annotated[
        int | None, Field(ge=0, description="metadata.generation that this status is about.")
    ] = None
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            description="Accepted, ClassifierReady, Programmed, Progressing, summed up in Ready.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default_factory=list)
    stable_revision: Annotated[
        str | None, Field(max_length=253, description="The revision that has proven itself.")
    ] = None
    candidate_revision: Annotated[
        str | None, Field(max_length=253, description="The revision on its way, if any.")
    ] = None
    traffic: Annotated[
        list[TrafficShare],
        Field(
            max_length=4,
            description="The traffic in force. Empty means always-strong: all of it to the last tier.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["revision"]},
        ),
    ] = Field(default_factory=list)


class RoutingPolicy(ApiModel):
    """Routes the requests for some models on some hosts to the cheapest tier that answers well enough."""

    KIND: ClassVar[str] = "RoutingPolicy"
    PLURAL: ClassVar[str] = "routingpolicies"
    SINGULAR: ClassVar[str] = "routingpolicy"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("rp",)
    PRINTER_COLUMNS: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"},
        {"name": "Revision", "type": "string", "jsonPath": ".status.traffic[0].revision"},
        {"name": "Weight", "type": "integer", "jsonPath": ".status.traffic[0].weightPermille"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
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

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
