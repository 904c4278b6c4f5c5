"""How one Envoy of a gateway runs: its containers, sized by its limits. Pure."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.api.v1alpha1.meta import seconds
from pointsman.gateways import drain
from pointsman.workloads.manifest import CONTAINER_SECURITY, resources
from pointsman.workloads.quantity import amount

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.routing_gateway import RoutingGateway, RoutingGatewaySpec
    from pointsman.gateways.installation import Installation
    from pointsman.workloads.manifest import Manifest

CONTAINER: Final = "envoy"
BOOTSTRAP: Final = "/etc/envoy/bootstrap.json"
_DRAIN: Final = "60s"
_RESOURCES: Final[Manifest] = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
_INIT_RESOURCES: Final[Manifest] = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"memory": "256Mi"},
}
_HEAP_SHARE: Final = (9, 10)
"""Of the memory limit: what is no heap (stacks, code, the kernel's buffers) counts towards the limit, too."""
_FEWEST_WORKERS: Final = 2
_START: Final = (
    # The id is new at each start: xds tells runs of one pod apart by it.
    f'exec envoy -c {BOOTSTRAP} --service-node "$POD_NAME.$(</proc/sys/kernel/random/uuid)" "$@"'
)


def drain_s(spec: RoutingGatewaySpec) -> int:
    """Return how long an Envoy that ends lets requests finish, in whole seconds."""
    return max(1, ceil(seconds(spec.drain or _DRAIN)))


def init_container(gateway: RoutingGateway, where: Installation) -> Manifest:
    """Return the container that writes Envoy's bootstrap, with our own image."""
    limits = gateway.spec.limits
    arguments = {
        "gateway": gateway.metadata.name,
        "node-id": "$(POD_NAME)",
        "admin-address": f"127.0.0.1:{install.ENVOY_ADMIN}",
        "stats-address": f"0.0.0.0:{install.ENVOY_STATS}",
        "shadow-address": f"0.0.0.0:{install.ENVOY_SHADOW}",
        "xds": f"{_host(install.XDS, where)}:{install.XDS_GRPC}",
        "access-log": f"{_host(install.EVALUATOR, where)}:{install.EVALUATOR_ACCESS_LOG}",
        "capture": f"{_host(install.EVALUATOR, where)}:{install.EVALUATOR_CAPTURE}",
        "tls-dir": install.CERTIFICATES,
        "xds-name": _host(install.XDS, where),
        "evaluator-name": _host(install.EVALUATOR, where),
    }
    if limits is not None and limits.max_connections is not None:
        arguments["max-connections"] = str(limits.max_connections)
    heap = heap_bytes(gateway.spec)
    if heap is not None:
        arguments["heap-bytes"] = str(heap)
    arguments["out"] = BOOTSTRAP
    return {
        "name": "bootstrap",
        "image": where.image,
        "args": ["bootstrap", *(word for name, value in arguments.items() for word in (f"--{name}", value))],
        "env": [_POD_NAME],
        "resources": _INIT_RESOURCES,
        "securityContext": CONTAINER_SECURITY,
        # the end of its log is its message: what failed is told where one looks
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_CONFIG | {"readOnly": False}, _TLS],
    }


def container(gateway: RoutingGateway, where: Installation) -> Manifest:
    """Return Envoy's container."""
    spec = gateway.spec
    options = {
        "--concurrency": str(workers(spec)),
        "--drain-time-s": str(drain_s(spec)),
        "--log-level": "warning",
    }
    return {
        "name": CONTAINER,
        "image": spec.image or where.envoy_image,
        "command": ["/bin/bash", "-c", _START, "envoy"],
        # no shared memory, no file system to write to: a new pod takes over, never a hot restart
        "args": [*(word for option in options.items() for word in option), "--disable-hot-restart"],
        "env": [_POD_NAME],
        # those of listeners are not named: they come and go, and no Envoy is restarted for it
        "ports": [
            {"name": install.PORT_STATS, "containerPort": install.ENVOY_STATS, "protocol": "TCP"},
            {"name": install.PORT_SHADOW, "containerPort": install.ENVOY_SHADOW, "protocol": "TCP"},
        ],
        "resources": resources(spec.resources, _RESOURCES),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [_CONFIG | {"readOnly": True}, _TLS],
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/bash", "-c", drain.script(drain_s(spec))]}}},
        # /ready says yes once Envoy has a listener, and no while it drains. An Envoy that only waits for xds
        # is not restarted for half an hour; one that drains must not be: alive is who answers at all.
        "startupProbe": _probe("/ready", periodSeconds=1, failureThreshold=1800),
        "readinessProbe": _probe("/ready", periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe("/server_info", periodSeconds=10, failureThreshold=6, timeoutSeconds=5),
    }


def volumes(certificate: str) -> list[Manifest]:
    """Return the pod's volumes; `certificate` is the Secret of the Envoys' own certificate."""
    return [
        {"name": _CONFIG["name"], "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": _TLS["name"], "secret": {"secretName": certificate, "defaultMode": 0o440}},
    ]


def workers(spec: RoutingGatewaySpec) -> int:
    """Return Envoy's number of threads: as many as the CPU limit, without one as the request but two.

    Left to itself Envoy starts one for each core of the node, and pays for each in memory.
    """
    wanted = resources(spec.resources, _RESOURCES)
    limit = wanted.get("limits", {}).get("cpu")
    if limit is not None:
        return max(1, ceil(amount(limit)))
    return max(_FEWEST_WORKERS, ceil(amount(wanted.get("requests", {}).get("cpu", "0"))))


def heap_bytes(spec: RoutingGatewaySpec) -> int | None:
    """Return what Envoy's heap may grow to, to shed load before the kernel ends it; None: no limit."""
    limit = resources(spec.resources, _RESOURCES).get("limits", {}).get("memory")
    return None if limit is None else int(amount(limit) * _HEAP_SHARE[0] / _HEAP_SHARE[1])


def _host(part: str, where: Installation) -> str:
    return install.service_host(part, where.namespace)


def _probe(path: str, *, timeoutSeconds: int = 2, **more: int) -> Manifest:  # noqa: N803 - as in the manifest
    get: dict[str, Any] = {"path": path, "port": install.ENVOY_STATS, "scheme": "HTTP"}
    return {"httpGet": get, "timeoutSeconds": timeoutSeconds, **more}


_POD_NAME: Final[Manifest] = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
_CONFIG: Final[Manifest] = {"name": "bootstrap", "mountPath": "/etc/envoy"}
_TLS: Final[Manifest] = {"name": "tls", "mountPath": install.CERTIFICATES, "readOnly": True}
