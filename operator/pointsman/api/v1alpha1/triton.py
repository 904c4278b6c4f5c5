"""Where classifiers run, as policies say it."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from pointsman.api.v1alpha1.cel import matches
from pointsman.api.v1alpha1.meta import PORT_PATTERN, ApiModel, Name, list_of, rule, rules

DEFAULT_POOL: Final = "default"
"""The TritonPool of policies that name none."""

TritonUrl = Annotated[
    str,
    Field(min_length=8, max_length=512),
    matches(
        rf"^http://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:{PORT_PATTERN}$",
        "must be http://HOST:PORT of one replica, without a path, for instance http://triton-0:8000; "
        "Triton's HTTP port speaks no TLS",
    ),
]
"""Address of one Triton server."""


class TritonExternal(ApiModel):
    """Triton servers that somebody else runs. Every one is kept loaded."""

    urls: Annotated[
        list[TritonUrl],
        Field(
            min_length=1,
            max_length=16,
            description="HTTP addresses of the replicas themselves (not of a Service), http://HOST:PORT.",
            json_schema_extra=list_of("set"),
        ),
    ]


class PoolRef(ApiModel):
    """A TritonPool of the namespace that Pointsman is installed in."""

    name: Annotated[Name, Field(description="Name of the TritonPool.")]


class TritonManaged(ApiModel):
    """Triton servers that the operator runs: a TritonPool, which policies share."""

    pool_ref: Annotated[PoolRef | None, Field(description="Which pool. Default: the one named default.")] = (
        None
    )

    @property
    def pool(self) -> str:
        """Name of the TritonPool, default resolved."""
        return self.pool_ref.name if self.pool_ref is not None else DEFAULT_POOL


class Triton(ApiModel):
    """Where the classifier runs: on servers of somebody's, or on a pool that the operator runs."""

    external: Annotated[TritonExternal | None, Field(description="Triton servers that exist already.")] = None
    managed: Annotated[TritonManaged | None, Field(description="Triton servers that the operator runs.")] = (
        None
    )

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.external) != has(self.managed)",
                "must have either external, with the addresses of your Tritons, or managed: {}, not both",
            )
        )
    }
