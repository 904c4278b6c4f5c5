"""A real node runs our images, behind real Services, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from cluster_kit import IMAGES, World, as_yaml, deployment, pod, service
from pointsman import __version__
from pointsman.lab.cluster.controllers import is_true
from pointsman.lab.cluster.layout import NODE
from wait import until_sync

DEADLINE_S = 120

IMPORT_ALL = """
import importlib, pkgutil, pointsman
skip = ("pointsman.lab", "pointsman.cli.lab", "pointsman.cli.demo", "pointsman.routers", "pointsman.__main__",
        "pointsman.triton.backend.model")
names = [m.name for m in pkgutil.walk_packages(pointsman.__path__, "pointsman.", onerror=lambda name: None)]
names = [name for name in names if not name.startswith(skip)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
WRITE_AND_READ = """
import os, pathlib
path = pathlib.Path("/data/note")
path.write_text("kept")
print(os.getuid(), path.read_text())
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", t * np.float32(2))]) for t in tensors]
"""


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def _post(address: str, path: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    finally:
        connection.close()


def _ready_pod(world: World, name: str) -> dict[str, Any]:
    return until_sync(
        lambda: next((found for found in world.pods(f"app={name}") if is_true(found, "Ready")), None),
        DEADLINE_S,
        0.1,
        what=f"a pod of {name} is Ready",
    )


def test_the_node_is_ready_and_has_gpus_in_name(cluster: World) -> None:
    """What asks for nvidia.com/gpu can be scheduled; the kubelet is of the API server's version."""
    node = cluster.kube.get(f"/api/v1/nodes/{NODE}")
    assert is_true(node, "Ready")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["status"]["nodeInfo"]["kubeletVersion"] == cluster.kube.get("/version")["gitVersion"]


def test_the_image_of_the_product_runs_as_nobody_with_a_read_only_root(cluster: World) -> None:
    """`pointsman --version`, and everything that serves can be imported: no package is missing."""
    log = cluster.outcome(pod("version", IMAGES["pointsman"], "pointsman", "--version"))
    assert log.strip() == f"pointsman, version {__version__}"
    log = cluster.outcome(pod("imports", IMAGES["pointsman"], "python3", "-c", IMPORT_ALL))
    assert int(log) > 100


def test_a_service_answers_another_pod_by_its_name(cluster: World) -> None:
    """CoreDNS, kube-proxy and the bridge do their part: two pods behind a name."""
    serve = ("python3", "-m", "http.server", "8080", "--directory", "/etc/ssl")
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    web = deployment("web", IMAGES["pointsman"], *serve, replicas=2, readinessProbe=probe)
    cluster.kubectl("apply", "-f", "-", stdin=as_yaml(web, service("web", 80, 8080)))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s", deadline_s=130)
    url = "http://web.default.svc.cluster.local/"
    log = cluster.outcome(pod("client", IMAGES["pointsman"], "python3", "-c", FETCH, url))
    assert "Directory listing" in log


def test_a_load_balancers_address_reaches_pods_from_outside(cluster: World) -> None:
    """What a cloud's controller would do is one call of the fixture."""
    cluster.apply(service("web-outside", 80, 8080, type="LoadBalancer", selector={"app": "web"}))
    address = cluster.cluster.balance("default", "web-outside")
    until_sync(lambda: _get(address, "/")[0] == 200, DEADLINE_S, 0.2, what=f"{address} answers")


def test_a_volume_belongs_to_the_pod_that_claims_it(cluster: World) -> None:
    """The default StorageClass binds a claim, and the pod's group may write, though it is not root."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "note"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.apply(claim)
    mounts = {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "note"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    log = cluster.outcome(pod("writer", IMAGES["pointsman"], "python3", "-c", WRITE_AND_READ, **mounts))
    assert log.strip() == "65532 kept"


def test_triton_loads_a_model_and_answers_in_a_pod(cluster: World) -> None:
    """The slim image has the Python backend and numpy, and needs nothing but /tmp and /dev/shm."""
    serve = ["--model-repository=/tmp", "--model-control-mode=explicit", "--allow-gpu-metrics=false"]
    probe = {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1}
    cluster.apply(deployment("triton", IMAGES["pointsman-triton"], args=serve, readinessProbe=probe))
    address = f"{_ready_pod(cluster, 'triton')['status']['podIP']}:8000"
    tensor = {"data_type": "TYPE_FP32", "dims": [2]}
    config = {
        "backend": "python",
        "max_batch_size": 0,
        "input": [{"name": "IN", **tensor}],
        "output": [{"name": "OUT", **tensor}],
    }
    import base64

    file = base64.b64encode(MODEL.encode()).decode()
    parameters = {"config": json.dumps(config), "file:1/model.py": file}
    loaded = _post(address, "/v2/repository/models/double/load", {"parameters": parameters})
    assert loaded[0] == 200, loaded
    inputs = [{"name": "IN", "shape": [2], "datatype": "FP32", "data": [1.0, 2.5]}]
    status, answer = _post(address, "/v2/models/double/infer", {"inputs": inputs})
    assert (status, answer["outputs"][0]["data"]) == (200, [2.0, 5.0])


@pytest.mark.parametrize(
    ("image", "command", "said"),
    [
        ("envoy", ["/bin/bash", "-c", "exec envoy --version"], "version:"),
        ("prometheus", ["prometheus", "--version"], "prometheus, version"),
        ("pointsman-tiers", ["pointsman", "tier", "--help"], "--data"),
        (
            "pointsman-tiers",
            ["python3", "-c", "import pyarrow, sklearn; print(open('/data/models.csv').read())"],
            ",",
        ),
    ],
)
def test_the_images_of_a_whole_installation_run(
    cluster: World, image: str, command: list[str], said: str
) -> None:
    """Each starts as nobody, with a read-only root."""
    name = f"try-{image}-{abs(hash(tuple(command))) % 10_000}"
    assert said in cluster.outcome(pod(name, IMAGES[image], *command))


def test_a_pods_use_of_processor_and_memory_is_measured(cluster: World) -> None:
    """metrics-server answers, so HPAs have something to go by."""
    path = "/apis/metrics.k8s.io/v1beta1/nodes"
    until_sync(lambda: _items(cluster, path), DEADLINE_S, 0.5, what="the node is measured")


def _items(world: World, path: str) -> list[Any]:
    try:
        found: list[Any] = world.kube.get(path)["items"]
    except Exception:  # noqa: BLE001 - the aggregated API answers 503 until it is there
        return []
    return found
