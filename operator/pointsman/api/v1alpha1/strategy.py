"""Strategies: how a request's tier is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pointsman.api.v1alpha1.cel import duration_between, matches, needs, one_block
from pointsman.api.v1alpha1.meta import ApiModel, Permille, list_map, rule, rules

TierName = Annotated[str, Field(min_length=1, max_length=63)]
"""A name that one of the tiers has: a rule of the whole spec says so, and which there are."""


class Artifact(ApiModel):
    """A classifier bundle and the digest it must have."""

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description=(
                "configmap://NAME[/KEY] in this namespace (default key bundle.zip), https://…, or file:///… "
                "where the operator runs with --allow-file-artifacts."
            ),
        ),
        matches(
            r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-._a-zA-Z0-9]+)?|https://[!-~]+|file:///[!-~]+)$",
            "must be configmap://NAME, configmap://NAME/KEY, https://… or file:///…; "
            "for instance configmap://support-bundle",
        ),
    ]
    sha256: Annotated[
        str,
        Field(max_length=64, description="SHA-256 of the bundle file, in hex."),
        matches(
            r"^[0-9a-f]{64}$",
            "must be the 64 lower-case hex digits that sha256sum prints for the bundle file",
        ),
    ]

    model_config = ApiModel.model_config | {
        "json_schema_extra": needs(
            sha256="must be set, or a changed file would change the routing; sha256sum FILE prints it"
        )
    }


class Threshold(ApiModel):
    """The score from which a tier's answer is taken to be good enough."""

    tier: Annotated[
        TierName, Field(description="Name of a tier; not the last one, which needs no threshold.")
    ]
    min_score_permille: Annotated[
        Permille, Field(description="Least probability, in permille, that this tier's answer is good enough.")
    ]


class IntentRule(ApiModel):
    """A fixed tier for one intent, before any threshold."""

    intent: Annotated[
        str, Field(min_length=1, max_length=128, description="Intent as the classifier names it.")
    ]
    tier: Annotated[TierName, Field(description="Name of the tier that serves this intent.")]


class Classifier(ApiModel):
    """Choose by a classifier's scores: the cheapest tier that reaches its threshold, else the last."""

    artifact: Annotated[Artifact, Field(description="The bundle to load on Triton.")]
    thresholds: Annotated[
        list[Threshold],
        Field(
            max_length=7,
            description="One threshold for each tier that may serve by score.",
            json_schema_extra=list_map("tier"),
        ),
    ] = Field(default_factory=list)
    per_intent: Annotated[
        list[IntentRule],
        Field(
            max_length=128,
            description="Intents with a fixed tier, which goes before any threshold.",
            json_schema_extra=list_map("intent"),
        ),
    ] = Field(default_factory=list)
    deadline: Annotated[
        Annotated[str, Field(max_length=32), duration_between("5ms", "5s", "50ms")] | None,
        Field(description="Longest wait for the classifier; after it the last tier serves. Default 50ms."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "(has(self.thresholds) && size(self.thresholds) > 0) || "
                "(has(self.perIntent) && size(self.perIntent) > 0)",
                "must set thresholds or perIntent, or every request goes to the last tier "
                "(which type: Pinned says more plainly)",
            )
        )
    }


class Pinned(ApiModel):
    """Always the same tier."""

    tier: Annotated[TierName, Field(description="Name of the tier that serves every request.")]


class Strategy(ApiModel):
    """How a request's tier is chosen: `type` names the one member that is set."""

    type: Annotated[
        Literal["Classifier", "Pinned"],
        Field(description="Classifier: by a model's scores. Pinned: always one tier."),
    ]
    classifier: Annotated[Classifier | None, Field(description="Settings of type Classifier.")] = None
    pinned: Annotated[Pinned | None, Field(description="Settings of type Pinned.")] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(*one_block({"Classifier": "classifier", "Pinned": "pinned"}))
    }
