"""The pods of a TritonPool: stock Triton, and beside it the agent, which knows no Kubernetes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.pools.models import KEY
from pointsman.workloads.manifest import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    SECRET_MODE,
    placement,
    pull_secrets,
    spread,
)

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.pods import Resources
    from pointsman.api.v1alpha1.triton_pool import Gpu, TritonPool
    from pointsman.workloads.manifest import Manifest

CONTAINER: Final = "triton"
CONTROL_HEADER: Final = "x-pointsman-control"
"""Header of the calls of Triton's API that only the agent may make."""
RESTRICTED: Final = ("model-repository", "model-config", "shared-memory", "statistics", "trace", "logging")
"""Triton's API but for what Envoy and evaluator need: health, metadata and inference."""
CONTROL: Final = "/run/pointsman"
CONTROL_KEY: Final = f"{CONTROL}/control.key"
MODELS: Final = "/etc/pointsman/models"
_BUNDLES: Final = "/var/cache/pointsman"
_LINGER_S: Final = 35
"""A pod that ends goes on this long: names are remembered for up to 30 s by cluster DNS, 5 s by Envoy."""
_GRACE_S: Final = 60
_GPU: Final = "nvidia.com/gpu"
_SHARED_MEMORY: Final = "1Gi"
_THREADS: Final = 4
"""Triton's HTTP threads spin for work; few are enough, and cost less."""


@dataclass(frozen=True, slots=True)
class Images:
    """What runs in the pods where the pool does not say."""

    pointsman: str
    triton: str
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets with which they are pulled."""


def pod_template(pool: TritonPool, images: Images, selector: dict[str, str]) -> Manifest:
    """Return the spec of a pool's pods."""
    name = install.pool_name(pool.metadata.name)
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": _GRACE_S,
        "containers": [_triton(pool, images), _agent(pool, images)],
        "volumes": _volumes(pool),
        **spread(selector),
        **placement(pool.spec.placement),
        **pull_secrets(images.pull_secrets, pool.spec.image_pull_secrets),
    }


def _triton(pool: TritonPool, images: Images) -> dict[str, Any]:
    live = {"httpGet": {"path": "/v2/health/live", "port": "http"}}
    return {
        "name": CONTAINER,
        "image": pool.spec.image or images.triton,
        "command": ["/bin/sh", "-c", _START.format(arguments=" ".join(_arguments(pool.spec.gpu)))],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "TMPDIR", "value": "/tmp"}],  # noqa: S108 - its own
        "ports": [
            {"name": "http", "containerPort": install.TRITON_HTTP, "protocol": "TCP"},
            {"name": "metrics", "containerPort": install.TRITON_METRICS, "protocol": "TCP"},
        ],
        # Triton calls itself not ready whenever a model is being loaded, so all three ask whether it lives;
        # whether it may be asked to classify is the agent's to say.
        "startupProbe": live | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 150},
        "livenessProbe": live | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "readinessProbe": live | {"periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 2},
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", f"sleep {_LINGER_S}"]}}},
        "resources": _resources(pool.spec.resources, pool.spec.gpu),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "control", "mountPath": CONTROL, "readOnly": True},
            {"name": "work", "mountPath": "/tmp"},  # noqa: S108 - its own: inline models are unpacked there
            {"name": "repository", "mountPath": "/models", "readOnly": True},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - the Python backend's regions
        ],
    }


_START: Final = f"until [ -s {CONTROL_KEY} ]; do sleep 0.2; done; exec tritonserver {{arguments}}"
"""The agent writes the key; Triton, which has no other user, waits for it."""


def _arguments(gpu: Gpu | None) -> list[str]:
    return [
        "--model-repository=/models",
        "--model-control-mode=explicit",
        "--strict-readiness=true",
        "--http-address=0.0.0.0",
        f"--http-port={install.TRITON_HTTP}",
        f"--http-thread-count={_THREADS}",
        "--allow-grpc=false",
        "--metrics-address=0.0.0.0",
        f"--metrics-port={install.TRITON_METRICS}",
        f"--allow-gpu-metrics={'true' if gpu is not None else 'false'}",
        "--exit-timeout-secs=15",
        f'--http-restricted-api="{",".join(RESTRICTED)}:{CONTROL_HEADER}=$(cat {CONTROL_KEY})"',
    ]


def _agent(pool: TritonPool, images: Images) -> dict[str, Any]:
    operator = install.service_host(install.OPERATOR, pool.metadata.namespace)
    arguments = [
        "triton-agent",
        f"--pool={pool.metadata.name}",
        f"--triton=http://127.0.0.1:{install.TRITON_HTTP}",
        f"--models={MODELS}/{KEY}",
        f"--operator=https://{operator}:{install.OPERATOR_BUNDLES}",
        f"--tls-dir={install.CERTIFICATES}",
        f"--http-address=0.0.0.0:{install.AGENT_HTTP}",
        f"--control-key-file={CONTROL_KEY}",
        f"--cache-dir={_BUNDLES}",
    ]
    gpu = pool.spec.gpu
    if gpu is not None:
        arguments += [f"--gpus={gpu.count}", f"--instances={gpu.instances_per_gpu or 1}"]
    return {
        "name": "agent",
        "image": images.pointsman,
        "args": arguments,
        "ports": [{"name": "agent", "containerPort": install.AGENT_HTTP, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "agent"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 1,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "agent"},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # a bundle passes through memory in base64, two at a time
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": "768Mi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "control", "mountPath": CONTROL},
            {"name": "bundles", "mountPath": _BUNDLES},
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "tls", "mountPath": install.CERTIFICATES, "readOnly": True},
        ],
    }


def _volumes(pool: TritonPool) -> list[dict[str, Any]]:
    name = pool.metadata.name
    secret = install.certificate_secret(install.pool_name(name))
    return [
        {"name": "control", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "bundles", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "work", "emptyDir": {"sizeLimit": "8Gi"}},
        {"name": "repository", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": _SHARED_MEMORY}},
        {"name": "models", "configMap": {"name": install.pool_models(name)}},
        {"name": "tls", "secret": {"secretName": secret, "defaultMode": SECRET_MODE}},
    ]


def _resources(given: Resources | None, gpu: Gpu | None) -> dict[str, Any]:
    """Return requests and limits; devices are limits, which Kubernetes takes as requests, too."""
    requests = {"cpu": "500m", "memory": "1Gi"} | (given.requests if given is not None else {})
    limits = dict(given.limits) if given is not None else {}
    if gpu is not None:
        limits[gpu.resource_name or _GPU] = str(gpu.count)
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}
