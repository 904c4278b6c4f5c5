"""Shared shapes of the API: the base model, field types, conditions."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pointsman.api.v1alpha1.cel import DURATION_PATTERN, matches, rule, rules, seconds

__all__ = [
    "API_VERSION",
    "DURATION_PATTERN",
    "GROUP",
    "UNSEEN",
    "VERSION",
    "ApiModel",
    "Condition",
    "Name",
    "ObjectMeta",
    "Permille",
    "SecretKeyRef",
    "list_map",
    "list_of",
    "rule",
    "rules",
    "seconds",
]

GROUP: Final = "pointsman.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "pointsman.dev/v1alpha1"


class ApiModel(BaseModel):
    """A part of an API object: camelCase outside; unknown fields are ignored (the API server prunes)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, serialize_by_alias=True
    )

    def to_kube(self) -> dict[str, Any]:
        """Return the JSON form as the API server wants it: no nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def list_of(kind: Literal["set", "atomic"]) -> dict[str, Any]:
    """Return the JSON-schema extra that says how server-side apply merges a list."""
    return {"x-kubernetes-list-type": kind}


def list_map(*keys: str) -> dict[str, Any]:
    """Return the JSON-schema extra of a list of objects that are told apart by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


UNSEEN: Final = -1
"""`status.observedGeneration` of an object that the operator has not looked at yet."""

PORT_PATTERN: Final = (
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)

Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be lower-case letters, digits and -, beginning and ending with a letter or digit, "
        "for instance small-1",
    ),
]
"""A DNS label (RFC 1123)."""

Permille = Annotated[int, Field(ge=0, le=1000)]


class SecretKeyRef(ApiModel):
    """One key of a Secret in the policy's own namespace."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Name of the Secret."),
        matches(
            r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
            "must be the name of a Secret in the policy's namespace: lower-case letters, digits, - and .",
        ),
    ]
    key: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Key within the Secret's data."),
        matches(
            r"^[-._a-zA-Z0-9]+$",
            "must be a key of the Secret's data: letters, digits, -, _ and ., not the key itself",
        ),
    ]


class Condition(ApiModel):
    """A condition as in the Kubernetes API conventions (`metav1.Condition`)."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern=r"^[A-Za-z][A-Za-z0-9]*$",
            description="Kind of the condition, in CamelCase.",
        ),
    ]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    observed_generation: Annotated[
        int, Field(ge=0, description="metadata.generation that this was computed from.")
    ] = 0
    last_transition_time: Annotated[
        str,
        Field(description="When status last changed (RFC 3339).", json_schema_extra={"format": "date-time"}),
    ]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z][A-Za-z0-9]*$",
            description="Why, as one CamelCase word.",
        ),
    ]
    message: Annotated[str, Field(max_length=32768, description="Why, for people.")]


class ObjectMeta(ApiModel):
    """The part of an object's metadata that we read."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    owner_references: list[dict[str, Any]] = Field(default_factory=list)
