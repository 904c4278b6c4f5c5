"""Envoy's bootstrap: what it must know before it can ask for the rest. A plain value, written as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.address import is_ip, split_address
from pointsman.contract import (
    CLUSTER_ACCESS_LOG,
    CLUSTER_CAPTURE,
    CLUSTER_XDS,
    SHADOW_STAT_PREFIX,
)
from pointsman.xds.translate.scripts import script
from pointsman.xds.types import SHADOW_ROUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_TYPE: Final = "type.googleapis.com/envoy"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CAPTURES_IN_FLIGHT: Final = 256
"""Bounds the memory that captures may take (each up to the policy's maxBytes): beyond it they are dropped."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS with our own processes: files in PEM, and the name that the other side's certificate has."""

    ca_file: str
    cert_file: str
    key_file: str
    server_name: str


@dataclass(frozen=True, slots=True)
class ShadowListener:
    """Where the evaluator, and nobody else, replays requests to single tiers: it spends their keys."""

    address: str
    """`host:port`."""
    tls: Tls | None = None
    """Its `server_name` is the DNS name (or URI) that the evaluator's client certificate must carry."""


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
    max_connections: int = 50_000,
) -> dict[str, Any]:
    """Return the bootstrap of one Envoy.

    `node_id` must be new at each start: the xds server tells runs apart by it. Addresses are `host:port`.
    """
    listeners = {} if shadow is None else {"listeners": [_shadow(shadow)]}
    return {
        "node": {"id": node_id, "cluster": gateway},
        "admin": {"address": _address(admin_address)},
        "dynamic_resources": {
            "lds_config": _ADS,
            "cds_config": _ADS,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": CLUSTER_XDS}}],
            },
        },
        "static_resources": {
            "clusters": [
                _cluster(CLUSTER_XDS, xds_addresses, http2=True, tls=xds_tls),
                _cluster(CLUSTER_ACCESS_LOG, [access_log_address], http2=True, tls=evaluator_tls) | _WATCHED,
                _cluster(
                    CLUSTER_CAPTURE,
                    [capture_address],
                    http2=False,
                    tls=evaluator_tls,
                    in_flight=_CAPTURES_IN_FLIGHT,
                ),
            ],
            **listeners,
        },
        "bootstrap_extensions": [_INTERNAL_LISTENERS],
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3."
                        "DownstreamConnectionsConfig",
                        "max_active_downstream_connections": max_connections,
                    },
                }
            ]
        },
    }


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
_ADS: Final[dict[str, Any]] = {"ads": {}, "resource_api_version": "V3"}
# A tier is a listener within the process.
_INTERNAL_LISTENERS: Final[dict[str, Any]] = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {"@type": f"{_TYPE}.extensions.bootstrap.internal_listener.v3.InternalListener"},
}


def _address(address: str) -> dict[str, Any]:
    host, port = split_address(address)
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(
    name: str, addresses: Sequence[str], *, http2: bool, tls: Tls | None, in_flight: int | None = None
) -> dict[str, Any]:
    by_name = not all(is_ip(split_address(address)[0]) for address in addresses)
    protocol: dict[str, Any] = {"http_protocol_options": {}}
    if http2:
        # Notices a server that vanished without a word, so that the stream moves to another.
        alive = {"interval": "15s", "timeout": "5s"}
        protocol = {"http2_protocol_options": {"connection_keepalive": alive}}
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if by_name else "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(a)}} for a in addresses]}],
        },
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
        cluster["transport_socket"] = _tls(tls)
    return cluster


def _shadow(listener: ShadowListener) -> dict[str, Any]:
    """Return the listener of replays: no access log, decision or capture; a header names the tier."""
    manager: dict[str, Any] = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": SHADOW_STAT_PREFIX,
        "rds": {"route_config_name": SHADOW_ROUTES, "config_source": _ADS},
        "http_filters": [
            {
                "name": "pointsman.shadow",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script("shadow")},
                    "clear_route_cache": False,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        # The evaluator's own ids reach the tier.
        "generate_request_id": False,
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "30s",
    }
    chain: dict[str, Any] = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        ]
    }
    if listener.tls is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": _common_tls(listener.tls),
            },
        }
    return {"name": SHADOW_ROUTES, "address": _address(listener.address), "filter_chains": [chain]}


def _tls(tls: Tls) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": tls.server_name,
            "common_tls_context": _common_tls(tls),
        },
    }


def _common_tls(tls: Tls) -> dict[str, Any]:
    kind = "URI" if "://" in tls.server_name else "DNS"
    name = {"san_type": kind, "matcher": {"exact": tls.server_name}}
    return {
        # Both: towards upstreams Envoy's own maximum is 1.2.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            {
                "certificate_chain": {"filename": tls.cert_file},
                "private_key": {"filename": tls.key_file},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": tls.ca_file},
            "match_typed_subject_alt_names": [name],
        },
    }
