"""Shared shapes of the API: the base model, field types, conditions."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP: Final = "pointsman.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"


class ApiModel(BaseModel):
    """A part of an API object: camelCase outside, unknown fields ignored on read (the API server prunes them)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, serialize_by_alias=True
    )

    def to_kube(self) -> dict[str, Any]:
        """Return the JSON form as the API server wants it: no nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rule(expression: str, message: str, path: str | None = None) -> dict[str, str]:
    """Return one `x-kubernetes-validations` entry; `message` names the field and the remedy."""
    entry = {"rule": expression, "message": message}
    if path is not None:
        entry["fieldPath"] = path
    return entry


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Return the JSON-schema extra that carries CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label (RFC 1123)."""

Permille = Annotated[int, Field(ge=0, le=1000)]

DURATION_PATTERN: Final = r"^([0-9]{1,8}(ms|s|m|h)){1,4}$"
Duration = Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)]
"""A Go duration without days: `50ms`, `15m`, `168h`."""

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Return the length of a `Duration` in seconds."""
    return sum(int(n) * _UNIT_SECONDS[unit] for n, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))


class SecretKeyRef(ApiModel):
    """One key of a Secret in the policy's own namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key within the Secret's data.")]


class Condition(ApiModel):
    """A condition as in the Kubernetes API conventions (`metav1.Condition`)."""

    type: Annotated[str, Field(max_length=316, description="Kind of the condition, in CamelCase.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    observed_generation: Annotated[
        int, Field(ge=0, description="metadata.generation that this was computed from.")
    ] = 0
    last_transition_time: Annotated[
        str,
        Field(description="When status last changed (RFC 3339).", json_schema_extra={"format": "date-time"}),
    ]
    reason: Annotated[str, Field(max_length=1024, description="Why, as one CamelCase word.")]
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
