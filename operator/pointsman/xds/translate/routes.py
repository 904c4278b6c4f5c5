"""The entry's routes: one virtual host per hostname, matched on metadata that only our scripts set."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2

from pointsman.contract import METADATA_NAMESPACE, Header, Key
from pointsman.plan.types import StickyPlan
from pointsman.xds.translate import direct, names
from pointsman.xds.translate.context import decide_context, dispatch_context
from pointsman.xds.translate.headers import NOT_FOR_TIERS
from pointsman.xds.translate.managers import lua_context
from pointsman.xds.translate.resources import ms, true, uint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.plan.types import ArmPlan, GatewayPlan, PolicyPlan, TierPlan
    from pointsman.xds.translate.options import Options

_SLACK_MS: Final = 5_000


def configuration() -> route_pb2.RouteConfiguration:
    """Return the entry's route configuration, but for its hosts."""
    return route_pb2.RouteConfiguration(
        name=names.ENTRY, ignore_port_in_host_matching=True, request_headers_to_remove=NOT_FOR_TIERS
    )


def hosts(plan: GatewayPlan, options: Options) -> list[route_components_pb2.VirtualHost]:
    """Return the entry's hosts: every domain once, the most specific host's policies first."""
    hostnames = sorted({host for policy in plan.policies for host in policy.hostnames})
    candidates: dict[str, list[PolicyPlan]] = {host: [] for host in hostnames}
    for policy in plan.policies:
        wild = any(host.startswith("*") for host in policy.hostnames)
        for host in hostnames if wild else policy.hostnames:
            candidates[host].append(policy)
    made = [_virtual_host(h, tuple(policies_of(h, found)), options) for h, found in candidates.items()]
    return made if "*" in hostnames else [*made, _others(options)]


def policies_of(host: str, policies: Sequence[PolicyPlan]) -> list[PolicyPlan]:
    """Return the policies that serve a host, the most specific hostname first.

    Envoy looks into one virtual host only, so a host of its own must also offer what wildcards offer it.
    """
    found: list[tuple[int, str, PolicyPlan]] = []
    for policy in policies:
        specific = max((_specificity(host, name) for name in policy.hostnames), default=-1)
        if specific >= 0:
            found.append((-specific, policy.key, policy))
    return [policy for _, _, policy in sorted(found, key=lambda f: f[:2])]


def _specificity(host: str, name: str) -> int:
    """Return how closely `name` covers `host`: its length, more if it is the same; -1 if it does not."""
    if name == host:
        return 1000
    if name == "*":
        return 0
    if name.startswith("*.") and host.endswith(name[1:]) and host != name[1:]:
        return len(name)
    return -1


@lru_cache(maxsize=16_384)
def _virtual_host(
    name: str, policies: tuple[PolicyPlan, ...], options: Options
) -> route_components_pb2.VirtualHost:
    """Return a host's routes; remembered, so nobody may change them: most hosts are as they were."""
    models: dict[str, str] = {}
    for policy in policies:
        models = dict.fromkeys(policy.models, policy.key) | models
    served = [policy for policy in policies if policy.key in models.values()]
    routes = [*_tier_routes(served), *(_policy_route(policy, options) for policy in served)]
    # A host with one policy serves even what no script could read; with several it would be a guess.
    routes.append(_fallback_route(served[0]) if len(served) == 1 else _nowhere())
    host = _host(name, routes, options)
    split = {policy.key: policy.sticky or StickyPlan() for policy in served if len(policy.arms) > 1}
    context = dispatch_context(models, options, split)
    host.typed_per_filter_config[names.DISPATCH].CopyFrom(lua_context(context))
    return host


@lru_cache(maxsize=16)
def _others(options: Options) -> route_components_pb2.VirtualHost:
    """Return the host of all domains that no policy names."""
    return _host("*", [_nowhere()], options)


def _host(
    domain: str, routes: list[route_components_pb2.Route], options: Options
) -> route_components_pb2.VirtualHost:
    host = route_components_pb2.VirtualHost(name=domain, domains=[domain], routes=routes)
    host.request_body_buffer_limit.value = options.body_limit
    return host


def _tier_routes(policies: Sequence[PolicyPlan]) -> list[route_components_pb2.Route]:
    """Return a route for each tier that any arm may choose."""
    routes: dict[str, route_components_pb2.Route] = {}
    for policy in policies:
        for arm in policy.arms:
            for tier in _choices(arm):
                strong = arm.tiers[-1]
                key = names.route_key(arm, tier)
                routes.setdefault(key, _tier_route(key, tier, strong))
                if direct.is_possible(tier, strong):
                    short = names.direct_cluster(tier, strong)
                    routes.setdefault(short, _direct_route(short, tier, strong))
    return [routes[key] for key in sorted(routes)]


def _choices(arm: ArmPlan) -> list[TierPlan]:
    """Return the tiers that an arm's rule can choose."""
    chosen = {arm.tiers[-1].name}
    if arm.pinned is not None:
        chosen = {arm.pinned}
    if arm.classifier is not None:
        chosen |= {tier for tier, _ in arm.classifier.thresholds} | {
            tier for _, tier in arm.classifier.per_intent
        }
    return [tier for tier in arm.tiers if tier.name in chosen or tier == arm.tiers[-1]]


def _tier_route(key: str, tier: TierPlan, strong: TierPlan) -> route_components_pb2.Route:
    action = _action(tier, strong)
    action.cluster = key
    if tier != strong:
        action.retry_policy.CopyFrom(direct.failover_retry())
    return route_components_pb2.Route(name=key, match=_when(Key.ROUTE, key), route=action)


def _direct_route(key: str, tier: TierPlan, strong: TierPlan) -> route_components_pb2.Route:
    match = _when(Key.ROUTE, key)
    match.prefix = direct.CLIENT_PREFIX
    # With one attempt the tier is known; with two the script must look which one answered.
    said = direct.says(Header.SERVED_TIER, tier.name)
    if tier != strong:
        said = direct.says(Header.SERVED_TIER, "#%UPSTREAM_REQUEST_ATTEMPT_COUNT%")
    return route_components_pb2.Route(
        name=key, match=match, route=direct.action(tier, strong), response_headers_to_add=[said]
    )


def _policy_route(policy: PolicyPlan, options: Options) -> route_components_pb2.Route:
    """Return the route of a dispatched request until its tier is chosen: each arm's own strong tier."""
    strongest = [arm.tiers[-1] for arm in policy.arms]
    slowest = max(strongest, key=lambda tier: tier.idle_timeout_ms)
    action = _action(slowest, slowest)
    route = route_components_pb2.Route(name=policy.key, match=_when(Key.POLICY, policy.key))
    if len(policy.arms) == 1:
        action.cluster = names.tier_listener(strongest[0])
        route.route.CopyFrom(action)
        context = decide_context(policy, policy.arms[0], options)
        route.typed_per_filter_config[names.DECIDE].CopyFrom(lua_context(context))
        return route
    action.hash_policy.append(
        route_components_pb2.RouteAction.HashPolicy(
            header=route_components_pb2.RouteAction.HashPolicy.Header(header_name=Header.KEY)
        )
    )
    arms = route_components_pb2.WeightedCluster(use_hash_policy=true())
    for arm in policy.arms:
        entry = arms.clusters.add(name=names.tier_listener(arm.tiers[-1]), weight=uint(arm.weight_permille))
        context = decide_context(policy, arm, options)
        entry.typed_per_filter_config[names.DECIDE].CopyFrom(lua_context(context))
    action.weighted_clusters.CopyFrom(arms)
    route.route.CopyFrom(action)
    return route


def _fallback_route(policy: PolicyPlan) -> route_components_pb2.Route:
    strong = policy.arms[0].tiers[-1]
    action = _action(strong, strong)
    action.cluster = names.tier_listener(strong)
    return route_components_pb2.Route(
        name=f"{policy.key}/fallback", match=route_components_pb2.RouteMatch(prefix="/"), route=action
    )


def _nowhere() -> route_components_pb2.Route:
    """Return a route to no cluster. Not a direct response: that would keep Envoy's own limit on bodies."""
    action = route_components_pb2.RouteAction(
        cluster=names.NO_POLICY,
        cluster_not_found_response_code=route_components_pb2.RouteAction.NOT_FOUND,
    )
    return route_components_pb2.Route(
        name=names.NO_POLICY, match=route_components_pb2.RouteMatch(prefix="/"), route=action
    )


def _action(tier: TierPlan, strong: TierPlan) -> route_components_pb2.RouteAction:
    """Return an action whose time-outs fire after the tier's own, and after a failover's second try."""
    idle = tier.idle_timeout_ms + (strong.idle_timeout_ms if strong != tier else 0) + _SLACK_MS
    return route_components_pb2.RouteAction(timeout=ms(0), idle_timeout=ms(idle))


def _when(key: Key, value: str) -> route_components_pb2.RouteMatch:
    return route_components_pb2.RouteMatch(
        prefix="/",
        dynamic_metadata=[
            metadata_pb2.MetadataMatcher(
                filter=METADATA_NAMESPACE,
                path=[metadata_pb2.MetadataMatcher.PathSegment(key=key)],
                value=value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=value)),
            )
        ],
    )
