"""A gateway's plan → Envoy's resources. Pure: equal plans give equal bytes, and nothing is read or asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from pointsman.xds.translate import clusters, direct, entry, names, routes, shadow, tiers
from pointsman.xds.translate.options import Options
from pointsman.xds.translate.resources import CLUSTER, LISTENER, ROUTES, SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envoy.config.listener.v3 import listener_pb2
    from envoy.config.route.v3 import route_components_pb2, route_pb2
    from google.protobuf.message import Message

    from pointsman.plan.types import (
        CertificateName,
        GatewayPlan,
        PolicyPlan,
        SecretName,
        TierPlan,
        TritonPlan,
    )

Resources = dict[str, dict[str, "Message"]]
"""Type URL → name → resource."""

__all__ = [
    "CLUSTER",
    "LISTENER",
    "ROUTES",
    "SECRET",
    "Options",
    "Resources",
    "Routing",
    "certificate",
    "named_secrets",
    "names",
    "parts",
    "secret",
    "secret_names",
    "translate",
]


@dataclass(frozen=True, slots=True)
class Routing:
    """A route configuration in two parts: all but its hosts, and thousands of these, most as they were."""

    config: route_pb2.RouteConfiguration
    hosts: Sequence[route_components_pb2.VirtualHost]

    def whole(self) -> route_pb2.RouteConfiguration:
        """Return it as one message."""
        made = type(self.config)()
        made.CopyFrom(self.config)
        made.virtual_hosts.extend(self.hosts)
        return made


def translate(plan: GatewayPlan, options: Options) -> Resources:
    """Return a gateway's listeners, clusters and routes.

    The secrets that they name are `secret_names` of the policies, and the listeners' certificates.
    """
    found, routings = parts(plan, options)
    return {**found, ROUTES: {each.config.name: each.whole() for each in routings}}


def parts(plan: GatewayPlan, options: Options) -> tuple[Resources, list[Routing]]:
    """Return a gateway's listeners and clusters, and its routes unassembled.

    What is the same as the last time is the same object.
    """
    if plan.front is not None:
        options = replace(options, body_limit=plan.front.body_limit)
    found: Resources = {LISTENER: {}, CLUSTER: {}}
    for served in {each for policy in plan.policies for each in _served(policy)}:
        for kind, name, message in _served_by(*served, options):
            found[kind].setdefault(name, message)
    front = _front(plan, options)
    found[LISTENER] |= {listener.name: listener for listener in front}
    routings = [Routing(shadow.configuration(), shadow.hosts(plan, options))]
    if front:  # else Envoy would never ask for them
        routings.insert(0, Routing(routes.configuration(), routes.hosts(plan, options)))
    return {kind: dict(sorted(by_name.items())) for kind, by_name in found.items()}, routings


def _front(plan: GatewayPlan, options: Options) -> list[listener_pb2.Listener]:
    if plan.front is None:
        return [entry.listener(options)]
    return [entry.gateway_listener(each, options) for each in plan.front.listeners]


@lru_cache(maxsize=16_384)
def secret_names(policy: PolicyPlan) -> frozenset[SecretName]:
    """Return the keys that a policy's tiers need, warm ones too."""
    arms = (*policy.arms, *policy.warm)
    return frozenset(tier.api_key for arm in arms for tier in arm.tiers if tier.api_key is not None)


def named_secrets(plan: GatewayPlan) -> frozenset[SecretName | CertificateName]:
    """Return all secrets that a gateway's resources name: keys of tiers, certificates of listeners."""
    listeners = plan.front.listeners if plan.front is not None else ()
    keys = {key for policy in plan.policies for key in secret_names(policy)}
    return frozenset({*keys, *(name for each in listeners for name in each.certificates)})


def secret(name: SecretName, value: bytes) -> Message:
    """Return the SDS resource of a tier's key, as the `Authorization` header that carries it."""
    return secret_pb2.Secret(
        name=name.resource,
        generic_secret=secret_pb2.GenericSecret(
            secret=base_pb2.DataSource(inline_bytes=b"Bearer " + value.strip())
        ),
    )


def certificate(name: CertificateName, chain: bytes, key: bytes) -> Message:
    """Return the SDS resource of a listener's certificate; PEM."""
    pair = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=chain),
        private_key=base_pb2.DataSource(inline_bytes=key),
    )
    return secret_pb2.Secret(name=name.resource, tls_certificate=pair)


@lru_cache(maxsize=16_384)
def _served(policy: PolicyPlan) -> tuple[tuple[tuple[TierPlan, ...], TritonPlan | None], ...]:
    """Return (tiers, Triton) of each of a policy's arms: policies of a namespace often share them."""
    arms = (*policy.arms, *policy.warm)
    return tuple((arm.tiers, arm.classifier.triton if arm.classifier is not None else None) for arm in arms)


@lru_cache(maxsize=16_384)
def _served_by(
    tier_plans: tuple[TierPlan, ...], triton: TritonPlan | None, options: Options
) -> tuple[tuple[str, str, Message], ...]:
    """Return (type URL, name, resource) of all that an arm needs; remembered, so nobody may change them."""
    strong = tier_plans[-1]
    made: list[tuple[str, str, Message]] = []
    for tier in tier_plans:
        made.append((LISTENER, names.tier_listener(tier), tiers.listener(tier, options)))
        made.append((CLUSTER, names.tier_listener(tier), clusters.to_listener(tier)))
        made.append((CLUSTER, names.upstream_cluster(tier), clusters.upstream(tier, options)))
        if tier != strong:
            made.append((CLUSTER, names.failover_cluster(tier, strong), clusters.failover(tier, strong)))
            if direct.is_possible(tier, strong):
                short = clusters.direct_failover(tier, strong)
                made.append((CLUSTER, names.direct_cluster(tier, strong), short))
    if triton is not None:
        made.append((CLUSTER, triton.id, clusters.triton(triton)))
    return tuple(made)
