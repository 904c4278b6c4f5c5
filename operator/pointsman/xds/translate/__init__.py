"""A gateway's plan → Envoy's resources. Pure: equal plans give equal bytes, and nothing is read or asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from pointsman.xds.translate import clusters, direct, entry, names, routes, tiers
from pointsman.xds.translate.options import Options
from pointsman.xds.translate.resources import CLUSTER, LISTENER, ROUTES, SECRET

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from pointsman.plan.types import ArmPlan, GatewayPlan, PolicyPlan, SecretName

Resources = dict[str, dict[str, "Message"]]
"""Type URL → name → resource."""

__all__ = [
    "CLUSTER",
    "LISTENER",
    "ROUTES",
    "SECRET",
    "Options",
    "Resources",
    "names",
    "secret",
    "secret_names",
    "translate",
]


def translate(plan: GatewayPlan, options: Options) -> Resources:
    """Return a gateway's listeners, clusters and routes; the secrets that they name are `secret_names`."""
    found: Resources = {LISTENER: {}, CLUSTER: {}, ROUTES: {}}
    for policy in plan.policies:
        for arm in (*policy.arms, *policy.warm):
            _add_arm(found, arm, options)
    front = entry.listener(options)
    found[LISTENER][front.name] = front
    routing = routes.route_configuration(plan, options)
    found[ROUTES][routing.name] = routing
    return {kind: dict(sorted(by_name.items())) for kind, by_name in found.items()}


def secret_names(policy: PolicyPlan) -> frozenset[SecretName]:
    """Return the keys that a policy's tiers need, warm ones too."""
    arms = (*policy.arms, *policy.warm)
    return frozenset(tier.api_key for arm in arms for tier in arm.tiers if tier.api_key is not None)


def secret(name: SecretName, value: bytes) -> Message:
    """Return the SDS resource of a tier's key, as the `Authorization` header that carries it."""
    return secret_pb2.Secret(
        name=name.resource,
        generic_secret=secret_pb2.GenericSecret(
            secret=base_pb2.DataSource(inline_bytes=b"Bearer " + value.strip())
        ),
    )


def _add_arm(found: Resources, arm: ArmPlan, options: Options) -> None:
    strong = arm.tiers[-1]
    by_name = found[CLUSTER]
    for tier in arm.tiers:
        if names.tier_listener(tier) not in found[LISTENER]:
            found[LISTENER][names.tier_listener(tier)] = tiers.listener(tier, options)
            by_name[names.tier_listener(tier)] = clusters.to_listener(tier)
            by_name[names.upstream_cluster(tier)] = clusters.upstream(tier, options)
        if tier != strong and names.failover_cluster(tier, strong) not in by_name:
            by_name[names.failover_cluster(tier, strong)] = clusters.failover(tier, strong)
            if direct.is_possible(tier, strong):
                by_name[names.direct_cluster(tier, strong)] = clusters.direct_failover(tier, strong)
    if arm.classifier is not None and arm.classifier.triton.id not in by_name:
        by_name[arm.classifier.triton.id] = clusters.triton(arm.classifier.triton)
