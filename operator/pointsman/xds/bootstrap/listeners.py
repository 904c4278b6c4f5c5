"""Listeners that are there before the configuration comes: the evaluator's replays, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pointsman.address import split_address
from pointsman.contract import SHADOW_STAT_PREFIX
from pointsman.xds.bootstrap.tls import Tls, downstream
from pointsman.xds.translate.scripts import script
from pointsman.xds.types import SHADOW_ROUTES

_TYPE: Final = "type.googleapis.com/envoy"
ADS: Final[dict[str, Any]] = {"ads": {}, "resource_api_version": "V3"}
CLUSTER_ADMIN: Final = "pointsman-admin"
"""Envoy's own admin interface, which only the stats listener leads to."""
STATS: Final = "stats"
HARMLESS: Final = ("/ready", "/stats", "/stats/prometheus", "/server_info")
"""Of the admin interface; the rest shows certificates and configuration, changes levels or ends Envoy."""


@dataclass(frozen=True, slots=True)
class ShadowListener:
    """Where the evaluator, and nobody else, replays requests to single tiers: it spends their keys."""

    address: str
    """`host:port`."""
    tls: Tls | None = None
    """Its `server_name` is the DNS name (or URI) that the evaluator's client certificate must carry."""


def shadow_listener(listener: ShadowListener) -> dict[str, Any]:
    """Return the listener of replays: no access log, decision or capture; a header names the tier."""
    manager = {
        "stat_prefix": SHADOW_STAT_PREFIX,
        "rds": {"route_config_name": SHADOW_ROUTES, "config_source": ADS},
        "http_filters": [_lua("pointsman.shadow", "shadow"), _ROUTER],
        # The evaluator's own ids reach the tier.
        "generate_request_id": False,
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "30s",
    }
    made = _listener(SHADOW_ROUTES, listener.address, manager)
    if listener.tls is not None:
        made["filter_chains"][0]["transport_socket"] = downstream(listener.tls)
    return made


def stats_listener(address: str) -> dict[str, Any]:
    """Return the listener of figures: GET of what is harmless in the admin interface, and nothing else.

    `/ready` is 200 once Envoy is live and clients can connect. An Envoy that is full still tells its figures.
    """
    served = [
        {
            "match": {"path": path, "headers": [_GET]},
            "route": {"cluster": CLUSTER_ADMIN, "timeout": "10s"},
            **({} if path == "/ready" else {"typed_per_filter_config": _NOT_ASKED}),
        }
        for path in HARMLESS
    ]
    refused = [{"match": {"path": path}, "direct_response": {"status": 405}} for path in HARMLESS]
    nothing = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    manager = {
        "stat_prefix": STATS,
        "route_config": {
            "name": STATS,
            "virtual_hosts": [{"name": STATS, "domains": ["*"], "routes": [*served, *refused, nothing]}],
        },
        "http_filters": [_lua(_READY, "ready"), _ROUTER],
        "generate_request_id": False,
        "normalize_path": True,
        "max_request_headers_kb": 16,
        "request_timeout": "5s",
        "request_headers_timeout": "5s",
        "stream_idle_timeout": "30s",
        "common_http_protocol_options": {"idle_timeout": "120s"},
    }
    return _listener(STATS, address, manager) | {
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
    }


_READY: Final = "pointsman.ready"
_GET: Final[dict[str, Any]] = {"name": ":method", "string_match": {"exact": "GET"}}
_NOT_ASKED: Final[dict[str, Any]] = {
    _READY: {"@type": f"{_TYPE}.extensions.filters.http.lua.v3.LuaPerRoute", "disabled": True}
}
_ROUTER: Final[dict[str, Any]] = {
    "name": "envoy.filters.http.router",
    "typed_config": {
        "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    },
}


def _lua(name: str, source: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": script(source)},
            "clear_route_cache": False,
        },
    }


def _listener(name: str, address: str, manager: dict[str, Any]) -> dict[str, Any]:
    kind = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    network = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {"@type": kind} | manager,
    }
    return {"name": name, "address": socket_address(address), "filter_chains": [{"filters": [network]}]}


def socket_address(address: str) -> dict[str, Any]:
    """Return `host:port` as Envoy writes it."""
    host, port = split_address(address)
    return {"socket_address": {"address": host, "port_value": port}}
