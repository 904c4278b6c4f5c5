"""Tiers: the models that a policy may choose from, cheap to strong."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pointsman.api.v1alpha1.cel import DURATION_PATTERN, duration_between, matches
from pointsman.api.v1alpha1.meta import PORT_PATTERN, ApiModel, Name, SecretKeyRef, list_of, rule, rules

Price = Annotated[
    str,
    Field(min_length=1, max_length=20),
    matches(
        r"^[0-9]{1,9}(\.[0-9]{1,9})?$",
        'must be US dollars as a decimal string, for instance "0.15"; no sign, currency or exponent',
    ),
]
"""US dollars per million tokens, a decimal string (the API has no floats)."""

ModelName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        r"^[^\"\\\x00-\x1f]+$",
        "must be a model's name as requests carry it: no double quote, backslash or control character",
    ),
]
"""A value of `model` in an OpenAI request: what JSON needs no escape for, so bytes can be compared."""


_PATH = "'[^:/](/.*)?$'"
"""Finds the last character before a URL's path, and the path."""


class TierEndpoint(ApiModel):
    """One address that serves the tier's model."""

    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=512,
            description="Base URL of an OpenAI-compatible API, for instance https://api.example.com/v1.",
        ),
        matches(
            rf"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:{PORT_PATTERN})?(/[-A-Za-z0-9._~/]*)?$",
            "must be http:// or https://, a host, and if needed a port and a path, for instance "
            "https://api.example.com/v1; no user, query or fragment (keys go to apiKeyRef)",
        ),
    ]


class TierPrice(ApiModel):
    """What the tier costs, in US dollars per million tokens."""

    input_per_million: Annotated[
        Price, Field(description='US dollars per million prompt tokens, as a string: "0.15".')
    ]
    output_per_million: Annotated[
        Price, Field(description='US dollars per million completion tokens, as a string: "0.60".')
    ]


class TierTimeouts(ApiModel):
    """How long the tier may take. Unset: idle 60s, total 10m."""

    idle: Annotated[
        Annotated[str, Field(max_length=32), duration_between("10ms", "1h", "60s")] | None,
        Field(
            description="Longest silence, before the first byte or between two. Default 60s; total if less."
        ),
    ] = None
    total: Annotated[
        Annotated[str, Field(max_length=32), duration_between("10ms", "24h", "10m")] | None,
        Field(description="Longest whole answer. Default 10m; idle if more."),
    ] = None

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.idle) || !has(self.total) || "
                # what is no duration has its own message; duration() of it would add a worse one
                f"!self.idle.matches(r'{DURATION_PATTERN}') || !self.total.matches(r'{DURATION_PATTERN}') || "
                "duration(self.idle) <= duration(self.total)",
                "must not be longer than total, which would end the answer first; lower idle or raise total",
                ".idle",
            )
        )
    }


class Tier(ApiModel):
    """A model and where it is served."""

    name: Annotated[Name, Field(description="Name of the tier within the policy.")]
    endpoints: Annotated[
        list[TierEndpoint],
        Field(
            min_length=1,
            max_length=8,
            description="Where the model is served; requests are spread over all of them.",
            json_schema_extra=list_of("atomic")
            | rules(
                rule(
                    "self.all(e, e.url.startsWith('https://') == self[0].url.startsWith('https://'))",
                    "must all use the same scheme; put http and https endpoints into tiers of their own",
                ),
                rule(
                    # Not url(…): the estimated cost of that is 100 times the budget.
                    f"self.all(e, e.url.find({_PATH}).substring(1) == "
                    f"self[0].url.find({_PATH}).substring(1))",
                    "must all have the same path; put endpoints with another path into a tier of their own",
                ),
                rule(
                    "self.all(e, self.exists_one(u, u.url == e.url))",
                    "must not name the same url twice; remove the copy",
                ),
            ),
        ),
    ]
    model: Annotated[
        ModelName, Field(description="Model name that the endpoint knows; it replaces the request's.")
    ]
    api_key_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Bearer token for the endpoint, from a Secret in this namespace. Unset: none is sent."
        ),
    ] = None
    price: Annotated[
        TierPrice | None, Field(description="What a token costs. Unset: the tier's cost is not counted.")
    ] = None
    timeouts: Annotated[TierTimeouts | None, Field(description="How long an answer may take.")] = None
