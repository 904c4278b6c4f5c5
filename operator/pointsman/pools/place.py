"""Where a policy's classifiers are: what is asked now, and what the spec wants asked. Pure.

A place is a Triton's URL (`http://HOST:PORT`), or `pool://NAME` of a TritonPool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman import install

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionSpec
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
    from pointsman.api.v1alpha1.triton import Triton

_POOL: Final = "pool://"


def in_force(policy: RoutingPolicy, spec: RoutingPolicyRevisionSpec) -> Triton | None:
    """Return where a revision's classifier is asked: what the status says, and before that the spec."""
    return policy.status.triton or wanted(policy, spec)


def wanted(policy: RoutingPolicy, spec: RoutingPolicyRevisionSpec) -> Triton | None:
    """Return where a revision's classifier shall be; its own word only where the policy has none any more."""
    return policy.spec.triton or spec.triton


def places(triton: Triton | None) -> tuple[str, ...]:
    """Return the places that must hold the model."""
    if triton is None:
        return ()
    if triton.managed is not None:
        return (pool_place(triton.managed.pool),)
    return tuple(triton.external.urls) if triton.external is not None else ()


def pool_place(pool: str) -> str:
    """Return the place of a TritonPool."""
    return f"{_POOL}{pool}"


def pool_of(place: str) -> str | None:
    """Return the name of the TritonPool that a place is; None: it is a server's URL."""
    return place.removeprefix(_POOL) if place.startswith(_POOL) else None


def shown(place: str) -> str:
    """Return a place as people are told of it."""
    pool = pool_of(place)
    return f"TritonPool {pool}" if pool is not None else place


def pool_address(pool: str, system_namespace: str) -> str:
    """Return `host:port` of a pool's headless Service, in which only ready pods are."""
    return f"{install.service_host(install.pool_name(pool), system_namespace)}:{install.TRITON_HTTP}"
