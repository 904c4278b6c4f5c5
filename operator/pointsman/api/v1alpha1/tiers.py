"""Tiers: the models that a policy may choose from, cheap to strong."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pointsman.api.v1alpha1.meta import ApiModel, Duration, Name, SecretKeyRef, rule, rules

Price = Annotated[str, Field(max_length=20, pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]
"""US dollars per million tokens, a decimal string (the API has no floats)."""


class TierEndpoint(ApiModel):
    """One address that serves the tier's model."""

    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=512,
            pattern=r"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[-A-Za-z0-9._~/]*)?$",
            description="Base URL of an OpenAI-compatible API, for instance https://api.example.com/v1.",
        ),
    ]


class TierPrice(ApiModel):
    """What the tier costs, in US dollars per million tokens."""

    input_per_million: Annotated[
        Price, Field(description="US dollars per million prompt tokens, as a string.")
    ]
    output_per_million: Annotated[
        Price, Field(description="US dollars per million completion tokens, as a string.")
    ]


class TierTimeouts(ApiModel):
    """How long the tier may take. Unset: idle 60s, total 10m."""

    idle: Annotated[
        Duration | None,
        Field(description="Longest silence, before the first byte or between two. Default 60s."),
    ] = None
    total: Annotated[Duration | None, Field(description="Longest whole answer. Default 10m.")] = None


class Tier(ApiModel):
    """A model and where it is served."""

    name: Annotated[Name, Field(description="Name of the tier within the policy.")]
    endpoints: Annotated[
        list[TierEndpoint],
        Field(
            min_length=1,
            max_length=8,
            description="Where the model is served; requests are spread over all of them.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"}
            | rules(
                rule(
                    "self.all(e, e.url.startsWith('https://') == self[0].url.startsWith('https://'))",
                    "endpoints: all must use the same scheme; put http and https endpoints into tiers of their own",
                ),
            ),
        ),
    ]
    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r'^[^"\\\x00-\x1f]+$',
            description="Model name that the endpoint knows; it replaces the request's.",
        ),
    ]
    api_key_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Bearer token for the endpoint, from a Secret in this namespace. Unset: no key is sent."
        ),
    ] = None
    price: Annotated[
        TierPrice | None, Field(description="What a token costs. Unset: the tier's cost is not counted.")
    ] = None
    timeouts: Annotated[TierTimeouts | None, Field(description="How long an answer may take.")] = None
