"""Routes of the shadow listener: any tier of any arm, asked for by name, for the evaluator's replays alone.

A virtual host for each tier, its domain being what `Header.SHADOW` says; the listener's script copies that
header into the authority. So Envoy finds one among thousands by hash, and what did not change is neither made
nor inspected again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from envoy.config.route.v3 import route_components_pb2, route_pb2

from pointsman.contract import Header
from pointsman.xds.translate import names
from pointsman.xds.translate.headers import NOT_FOR_TIERS
from pointsman.xds.translate.resources import ms

if TYPE_CHECKING:
    from pointsman.plan.types import GatewayPlan, PolicyPlan, TierPlan
    from pointsman.xds.translate.options import Options

_SLACK_MS = 5_000


def configuration() -> route_pb2.RouteConfiguration:
    """Return the shadow listener's route configuration, but for its hosts."""
    return route_pb2.RouteConfiguration(
        name=names.SHADOW, request_headers_to_remove=[*NOT_FOR_TIERS, Header.SHADOW]
    )


def hosts(plan: GatewayPlan, options: Options) -> list[route_components_pb2.VirtualHost]:
    """Return the shadow listener's hosts; without policies none, so that all is 404."""
    tiers = dict(pair for policy in plan.policies for pair in _tiers(policy))
    return [_host(domain, tier, options) for domain, tier in sorted(tiers.items(), key=lambda pair: pair[0])]


@lru_cache(maxsize=16_384)
def _tiers(policy: PolicyPlan) -> tuple[tuple[str, TierPlan], ...]:
    """Return (domain, tier) of each of a policy's arms."""
    return tuple(
        (f"{policy.key}/{arm.revision}/{tier.name}", tier)
        for arm in (*policy.arms, *policy.warm)
        for tier in arm.tiers
    )


@lru_cache(maxsize=65_536)
def _host(domain: str, tier: TierPlan, options: Options) -> route_components_pb2.VirtualHost:
    """Return the way to one tier's listener: no failover, as it is this tier's answer that is scored."""
    action = route_components_pb2.RouteAction(
        cluster=names.tier_listener(tier),
        # The tier's own time-outs come first.
        timeout=ms(0),
        idle_timeout=ms(tier.idle_timeout_ms + _SLACK_MS),
        host_rewrite_literal=names.SHADOW,
    )
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"), route=action)
    host = route_components_pb2.VirtualHost(name=domain, domains=[domain], routes=[route])
    host.request_body_buffer_limit.value = options.body_limit
    return host
