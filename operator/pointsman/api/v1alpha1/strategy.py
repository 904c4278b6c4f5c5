"""Strategies: how a request's tier is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.api.v1alpha1.meta import ApiModel, Duration, Name, Permille, rule, rules


class Artifact(ApiModel):
    """A classifier bundle and the digest it must have."""

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            pattern=r"^(configmap|https|file)://\S+$",
            description=(
                "configmap://NAME[/KEY] in this namespace (default key bundle.zip), https://…, or file:///… "
                "where the operator runs with --allow-file-artifacts."
            ),
        ),
    ]
    sha256: Annotated[
        str,
        Field(pattern=r"^[0-9a-f]{64}$", max_length=64, description="SHA-256 of the bundle file, in hex."),
    ]


class Threshold(ApiModel):
    """The score from which a tier's answer is taken to be good enough."""

    tier: Annotated[Name, Field(description="Name of a tier; not the last one, which needs no threshold.")]
    min_score_permille: Annotated[
        Permille, Field(description="Least probability, in permille, that this tier's answer is good enough.")
    ]


class IntentRule(ApiModel):
    """A fixed tier for one intent, before any threshold."""

    intent: Annotated[
        str, Field(min_length=1, max_length=128, description="Intent as the classifier names it.")
    ]
    tier: Annotated[Name, Field(description="Name of the tier that serves this intent.")]


class Classifier(ApiModel):
    """Choose by a classifier's scores: the cheapest tier that reaches its threshold, else the last."""

    artifact: Annotated[Artifact, Field(description="The bundle to load on Triton.")]
    thresholds: Annotated[
        list[Threshold],
        Field(
            max_length=7,
            description="One threshold for each tier that may serve by score.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["tier"]},
        ),
    ] = Field(default_factory=list)
    per_intent: Annotated[
        list[IntentRule],
        Field(
            max_length=128,
            description="Intents with a fixed tier.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["intent"]},
        ),
    ] = Field(default_factory=list)
    deadline: Annotated[
        Duration | None,
        Field(
            description="Longest wait for the classifier; after it the last tier serves. Default 50ms.",
            json_schema_extra=rules(
                rule(
                    "duration(self) >= duration('5ms') && duration(self) <= duration('5s')",
                    "deadline: must be from 5ms to 5s; 50ms is the default",
                )
            ),
        ),
    ] = None


class Pinned(ApiModel):
    """Always the same tier."""

    tier: Annotated[Name, Field(description="Name of the tier that serves every request.")]


class Strategy(ApiModel):
    """How a request's tier is chosen: `type` names the one member that is set."""

    type: Annotated[
        Literal["Classifier", "Pinned"],
        Field(description="Classifier: by a model's scores. Pinned: always one tier."),
    ]
    classifier: Annotated[Classifier | None, Field(description="Settings of type Classifier.")] = None
    pinned: Annotated[Pinned | None, Field(description="Settings of type Pinned.")] = None
