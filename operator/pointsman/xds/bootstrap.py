"""Envoy's bootstrap: what it must know before it can ask for the rest. A plain value, written as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.address import is_ip, split_address
from pointsman.contract import CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, CLUSTER_XDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_TYPE: Final = "type.googleapis.com/envoy"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CAPTURES_IN_FLIGHT: Final = 256
"""Bounds the memory that captures may take (each up to the policy's maxBytes): beyond it they are dropped."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS towards our own servers: files in PEM, and the name that the servers' certificates carry."""

    ca_file: str
    cert_file: str
    key_file: str
    server_name: str


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
    max_connections: int = 50_000,
) -> dict[str, Any]:
    """Return the bootstrap of one Envoy.

    `node_id` must be new at each start: the xds server tells runs apart by it. Addresses are `host:port`.
    """
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
                _cluster(CLUSTER_ACCESS_LOG, [access_log_address], http2=True, tls=evaluator_tls),
                _cluster(
                    CLUSTER_CAPTURE,
                    [capture_address],
                    http2=False,
                    tls=evaluator_tls,
                    in_flight=_CAPTURES_IN_FLIGHT,
                ),
            ]
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


def _tls(tls: Tls) -> dict[str, Any]:
    name = {"san_type": "DNS", "matcher": {"exact": tls.server_name}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": tls.server_name,
            "common_tls_context": {
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
            },
        },
    }
