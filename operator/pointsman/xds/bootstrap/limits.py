"""What one Envoy bears: connections, memory, and clients that begin requests only to drop them."""

from __future__ import annotations

from typing import Any, Final

_TYPE: Final = "type.googleapis.com/envoy.extensions.resource_monitors"
_HEAP: Final = "envoy.resource_monitors.fixed_heap"

_ACTIONS: Final = (
    ("envoy.overload_actions.shrink_heap", 0.90),
    ("envoy.overload_actions.disable_http_keepalive", 0.95),
    ("envoy.overload_actions.stop_accepting_requests", 0.98),
)
"""(what is done, from which part of the heap on): memory is given back, connections are sent elsewhere, and
at last new requests are answered 503. What is under way goes on."""

RUNTIME: Final[dict[str, Any]] = {
    "layers": [
        {
            "name": "pointsman",
            "static_layer": {
                # HTTP/2 rapid reset: a connection that began this many requests, more than half of which the
                # client dropped within a second, is closed.
                "overload.premature_reset_total_stream_count": 500,
                "overload.premature_reset_min_stream_lifetime_seconds": 1,
                # A connection that sends many requests at once takes turns with the others.
                "http.max_requests_per_io_cycle": 1,
            },
        }
    ]
}
"""Runtime keys. There is no admin layer: nobody changes them in a running Envoy."""


def overload_manager(max_connections: int, heap_bytes: int | None) -> dict[str, Any]:
    """Return the limits of clients' connections and, with `heap_bytes`, of memory."""
    monitors: list[dict[str, Any]] = [
        {
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": f"{_TYPE}.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": max_connections,
            },
        }
    ]
    if heap_bytes is None:
        return {"resource_monitors": monitors}
    monitors.append(
        {
            "name": _HEAP,
            "typed_config": {
                "@type": f"{_TYPE}.fixed_heap.v3.FixedHeapConfig",
                "max_heap_size_bytes": heap_bytes,
            },
        }
    )
    actions = [
        {"name": name, "triggers": [{"name": _HEAP, "threshold": {"value": part}}]} for name, part in _ACTIONS
    ]
    return {"refresh_interval": "0.25s", "resource_monitors": monitors, "actions": actions}
