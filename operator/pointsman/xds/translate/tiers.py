"""A tier as an internal listener with a connection manager of its own.

So a failover is right by itself: whichever attempt reaches a tier gets that tier's model, path, host, key and
time-outs, and nothing that belongs to the client or to another tier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from pointsman.contract import Header
from pointsman.xds.translate import names
from pointsman.xds.translate.direct import rewrite_host, says, unsent_retry
from pointsman.xds.translate.headers import NOT_FOR_TIERS
from pointsman.xds.translate.managers import (
    local_replies,
    lua_context,
    lua_filter,
    router_filter,
)
from pointsman.xds.translate.resources import any_of, json_string, ms, uint

if TYPE_CHECKING:
    from pointsman.plan.types import TierPlan
    from pointsman.xds.translate.options import Options


def listener(tier: TierPlan, options: Options) -> listener_pb2.Listener:
    """Return the tier's internal listener."""
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="tier",
        codec_type=hcm_pb2.HttpConnectionManager.HTTP1,
        route_config=_routes(tier, options),
        http_filters=[
            lua_filter(names.REWRITE, "rewrite"),
            router_filter(),
        ],
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=ms(3_600_000)),
        stream_idle_timeout=ms(tier.idle_timeout_ms),
        local_reply_config=local_replies(),
        skip_xff_append=True,
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
    )
    manager.generate_request_id.value = False
    network = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=any_of(manager)
    )
    return listener_pb2.Listener(
        name=names.tier_listener(tier),
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        filter_chains=[listener_components_pb2.FilterChain(filters=[network])],
        per_connection_buffer_limit_bytes=uint(1024 * 1024),
    )


def _routes(tier: TierPlan, options: Options) -> route_pb2.RouteConfiguration:
    route = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix="/"),
        route=_action(tier),
        response_headers_to_add=[says(Header.SERVED_TIER, tier.name)],
    )
    model = {"model": json_string(tier.model), "budget": options.scan_budget}
    route.typed_per_filter_config[names.REWRITE].CopyFrom(lua_context(model))
    host = route_components_pb2.VirtualHost(name=tier.name, domains=["*"], routes=[route])
    # The rewritten body may be longer by the model's name.
    host.request_body_buffer_limit.value = options.body_limit + 4096
    return route_pb2.RouteConfiguration(
        name=names.tier_listener(tier), virtual_hosts=[host], request_headers_to_remove=NOT_FOR_TIERS
    )


def _action(tier: TierPlan) -> route_components_pb2.RouteAction:
    action = route_components_pb2.RouteAction(
        cluster=names.upstream_cluster(tier),
        timeout=ms(tier.total_timeout_ms),
        idle_timeout=ms(tier.idle_timeout_ms),
        retry_policy=unsent_retry(tier),
    )
    rewrite_host(action, tier)
    # The client's /v1/chat/completions becomes the endpoint's <path>/chat/completions.
    action.regex_rewrite.pattern.regex = "^(/v1)?/"
    action.regex_rewrite.substitution = f"{tier.endpoints[0].path_prefix}/"
    return action
