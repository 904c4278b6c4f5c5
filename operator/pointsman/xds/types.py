"""xDS resource types that we serve, by their type URL."""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "type.googleapis.com/"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"

ADDED_FIRST: Final = ((SECRET, CLUSTER), (LISTENER,))
"""What routes need, in stages: a listener's own routes must find their clusters. Removed after them."""
TYPES: Final = (SECRET, CLUSTER, LISTENER, ROUTE)

SHADOW_ROUTES: Final = "shadow"
"""Routes of a listener that not every bootstrap has: an Envoy that never asks for them lacks nothing."""

SHORT: Final = {SECRET: "secret", CLUSTER: "cluster", LISTENER: "listener", ROUTE: "route"}
"""For metrics and logs."""
