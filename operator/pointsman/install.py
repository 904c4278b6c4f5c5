"""Names, labels, ports and files of an installation: chart, operator and parts agree on them here.

One installation a namespace (the *system namespace*): its objects are named the same whatever the Helm
release is called. A unit test holds the chart equal.
"""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "pointsman.dev"

SYSTEM_NAMESPACE: Final = "pointsman-system"
"""Where Pointsman is installed, if nobody says otherwise."""

LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_GATEWAY: Final = "pointsman.dev/gateway"
LABEL_POOL: Final = "pointsman.dev/pool"
"""Of everything that the operator makes for a RoutingGateway or TritonPool: that object's name."""

OPERATOR: Final = "pointsman-operator"
XDS: Final = "pointsman-xds"
EVALUATOR: Final = "pointsman-evaluator"
"""Name of each part's Deployment (StatefulSet of the evaluator), Service and ServiceAccount."""

CA_SECRET: Final = "pointsman-ca"  # noqa: S105 - a name
"""The authority of the parts' certificates; only the operator reads it."""

OPERATOR_HTTP: Final = 9070
"""/healthz, /readyz, /metrics."""
OPERATOR_BUNDLES: Final = 9443
"""Bundles by digest, over mutual TLS, for the agents of Tritons."""
XDS_GRPC: Final = 18000
XDS_HTTP: Final = 9090
"""/v1/state, /healthz, /readyz, /metrics."""
EVALUATOR_HTTP: Final = 9080
EVALUATOR_ACCESS_LOG: Final = 9081
EVALUATOR_CAPTURE: Final = 9082
ENVOY_ADMIN: Final = 9901
"""On the pod's loopback alone."""
ENVOY_STATS: Final = 9902
"""/ready, /stats, /stats/prometheus, /server_info: the admin interface's harmless part."""
ENVOY_SHADOW: Final = 9903
"""Replays of the evaluator, over mutual TLS."""
ENVOY_FIRST_PORT: Final = 10000
"""Envoys are not root: listeners are bound from here on, one port each, and the Service maps theirs."""
TRITON_HTTP: Final = 8000
TRITON_METRICS: Final = 8002
AGENT_HTTP: Final = 9071
"""/readyz, /v1/state, /metrics of the agent beside a Triton."""

PORT_HTTP: Final = "http"
"""Name of the Service's port that leads to XDS_HTTP: so the operator finds it in EndpointSlices."""
PORT_STATS: Final = "stats"
PORT_SHADOW: Final = "shadow"
"""Names of the ports of a gateway's headless Service: ENVOY_STATS and ENVOY_SHADOW."""

CERTIFICATES: Final = "/etc/pointsman/tls"
"""Where a part's certificate Secret is mounted: tls.crt, tls.key, ca.crt (one or two authorities)."""


def certificate_secret(part: str) -> str:
    """Return the name of the Secret (kubernetes.io/tls with ca.crt) of a part, for instance of `XDS`."""
    return f"{part}-tls"


def gateway_name(gateway: str) -> str:
    """Return the name of the Deployment, Service, ServiceAccount, … of a RoutingGateway."""
    return f"pointsman-gateway-{gateway}"


def gateway_internal(gateway: str) -> str:
    """Return the name of the headless Service of a RoutingGateway's Envoys: ports `stats` and `shadow`."""
    return f"{gateway_name(gateway)}-internal"


def pool_name(pool: str) -> str:
    """Return the name of the Deployment and of the headless Service of a TritonPool."""
    return f"pointsman-triton-{pool}"


def pool_models(pool: str) -> str:
    """Return the name of the ConfigMap that says which bundles a pool's Tritons shall hold."""
    return f"{pool_name(pool)}-models"


def service_host(service: str, namespace: str) -> str:
    """Return a Service's name as it resolves from every namespace; also in its certificate."""
    return f"{service}.{namespace}.svc"
