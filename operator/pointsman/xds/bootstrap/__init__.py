"""Envoy's bootstrap: what it must know before it can ask for the rest. A plain value, written as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointsman.address import is_ip, split_address
from pointsman.contract import CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, CLUSTER_XDS
from pointsman.xds.bootstrap.limits import RUNTIME, overload_manager
from pointsman.xds.bootstrap.listeners import (
    ADS,
    CLUSTER_ADMIN,
    ShadowListener,
    shadow_listener,
    socket_address,
    stats_listener,
)
from pointsman.xds.bootstrap.tls import Renewal, Tls, sds_files, upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Renewal", "ShadowListener", "Tls", "bootstrap", "sds_files"]

_TYPE: Final = "type.googleapis.com/envoy"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CAPTURES_IN_FLIGHT: Final = 256
"""Bounds the memory that captures may take (each up to the policy's maxBytes): beyond it they are dropped."""


def bootstrap(
    *,
    gateway: str,
    node_id: str,
    admin_address: str,
    xds_addresses: Sequence[str],
    access_log_address: str,
    capture_address: str,
    xds_tls: Tls | None = None,
    evaluator_tls: Tls | None = None,
    shadow: ShadowListener | None = None,
    stats_address: str | None = None,
    max_connections: int = 50_000,
    heap_bytes: int | None = None,
) -> dict[str, Any]:
    """Return the bootstrap of one Envoy.

    `node_id` must be new at each start: the xds server tells runs apart by it. Addresses are `host:port`.
    """
    clusters = [
        _cluster(CLUSTER_XDS, xds_addresses, http2=True, tls=xds_tls),
        _cluster(CLUSTER_ACCESS_LOG, [access_log_address], http2=True, tls=evaluator_tls) | _WATCHED,
        _cluster(
            CLUSTER_CAPTURE,
            [capture_address],
            http2=False,
            tls=evaluator_tls,
            in_flight=_CAPTURES_IN_FLIGHT,
        ),
    ]
    listeners = [] if shadow is None else [shadow_listener(shadow)]
    if stats_address is not None:
        clusters.append(_cluster(CLUSTER_ADMIN, [admin_address], http2=False, tls=None))
        listeners.append(stats_listener(stats_address))
    return {
        "node": {"id": node_id, "cluster": gateway},
        "admin": {"address": socket_address(admin_address)},
        "dynamic_resources": {
            "lds_config": _FIRST,
            "cds_config": _FIRST,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": CLUSTER_XDS}}],
            },
        },
        "static_resources": {"clusters": clusters, **({"listeners": listeners} if listeners else {})},
        "bootstrap_extensions": [_INTERNAL_LISTENERS],
        "overload_manager": overload_manager(max_connections, heap_bytes),
        "layered_runtime": RUNTIME,
    }


# An Envoy that knows nothing yet is not live: it would take requests that it can only refuse.
_FIRST: Final[dict[str, Any]] = ADS | {"initial_fetch_timeout": "0s"}
# Envoy keeps log entries only while it knows that nobody listens: what it writes to a connection that is
# refused a moment later is gone.
_WATCHED: Final[dict[str, Any]] = {
    "health_checks": [
        {
            "interval": "0.5s",
            "no_traffic_interval": "0.5s",
            "timeout": "1s",
            "healthy_threshold": 1,
            "unhealthy_threshold": 1,
            "grpc_health_check": {},
            "tls_options": {"alpn_protocols": ["h2"]},  # connections of a pool say so by themselves
        }
    ],
    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
}
# A tier is a listener within the process.
_INTERNAL_LISTENERS: Final[dict[str, Any]] = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {"@type": f"{_TYPE}.extensions.bootstrap.internal_listener.v3.InternalListener"},
}


def _cluster(
    name: str, addresses: Sequence[str], *, http2: bool, tls: Tls | None, in_flight: int | None = None
) -> dict[str, Any]:
    by_name = not all(is_ip(split_address(address)[0]) for address in addresses)
    protocol: dict[str, Any] = {"http_protocol_options": {}}
    if http2:
        # Notices a server that vanished without a word, so that the stream moves to another.
        alive = {"interval": "15s", "timeout": "5s"}
        protocol = {"http2_protocol_options": {"connection_keepalive": alive}}
    endpoints = [{"endpoint": {"address": socket_address(address)}} for address in addresses]
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if by_name else "STATIC",
        **({"dns_lookup_family": "V4_PREFERRED"} if by_name else {}),
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": protocol,
            }
        },
    }
    if in_flight is not None:
        most = {"max_requests": in_flight, "max_pending_requests": in_flight, "max_connections": 64}
        cluster["circuit_breakers"] = {"thresholds": [most]}
    if tls is not None:
        cluster["transport_socket"] = upstream(tls)
    return cluster
