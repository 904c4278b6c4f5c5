"""Pointsman as a user installs it: charts, replay tiers as pods, clients at the gateway's Service."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import yaml

from cluster_kit import IMAGES, World, deployment, service
from pointsman import install
from pointsman.clock import system_clock
from pointsman.lab.demo.acts import Scene
from pointsman.lab.demo.ended import Ended
from pointsman.lab.demo.performance import example_values, new_tally
from pointsman.lab.demo.scene import HOST, Stage
from pointsman.lab.demo.tally import Tally
from pointsman.lab.demo.traffic import Traffic
from pointsman.lab.load import Outcome, Prompt, Target
from pointsman.lab.models import MODELS
from pointsman.lab.parts import TIER_MODELS
from pointsman.routers import dataset
from pointsman.routers.dataset import Problem
from pointsman.routers.train import train
from wait import until_sync

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SYSTEM: Final = "pointsman-system"
MODELS_NAMESPACE: Final = "models"
TIER_PORT: Final = 8000
FIRST: Final = "1-first.yaml"
"""The example that is in force from the beginning: its rollout starts with the clients."""
RATE: Final = 60.0
"""Requests a second: a whole cluster shares this machine with them."""
SETTLE: Final = "30s"
"""How long kubelets here may take to give pods a changed certificate."""
SMALL: Final[Mapping[str, Any]] = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"memory": "1Gi"},
}


class OnCluster(Stage):
    """The demo's stage, but for Triton: the operator runs it."""

    def _manifests(self, file: Path) -> list[dict[str, Any]]:
        found = Stage._manifests(self, file)
        for manifest in found:
            if manifest["kind"] == "RoutingPolicy":
                manifest["spec"]["triton"] = {"managed": {}}
        return found

    def manifests(self, file: Path) -> list[dict[str, Any]]:
        """Return what a file of the examples holds, as it is applied here."""
        return self._manifests(file)


@dataclass(slots=True)
class Witness(Tally):
    """A tally that also keeps every outcome, without its text."""

    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count and keep one outcome."""
        Tally.add(self, outcome)
        self.outcomes.append(replace(outcome, text=""))


@dataclass
class Installed:
    """A release, its tiers, and what clients have seen."""

    world: World
    test: Problem
    stage: OnCluster
    tally: Witness
    values_file: Path

    @contextmanager
    def traffic(self, seed: int = 0) -> Iterator[None]:
        """Send requests at `RATE` to the gateway's Service."""
        draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
        prompts = [
            Prompt(prompt_id, text, draw.random() < 0.1)
            for prompt_id, text in zip(self.test.prompt_ids, self.test.texts, strict=True)
        ]
        target = Target(str(self.stage.lab["entry"]), HOST)
        with Traffic(target, prompts, self.tally, rate=RATE, seed=seed):
            yield

    def play(self, scene: Scene) -> Ended:
        """Apply a scene's policy and follow its rollout to the end."""
        before = str((self.stage.status().get("rollout") or {}).get("id", ""))
        self.stage.apply(scene.path)
        return self.stage.follow(scene, before, lambda _: None)

    def follow(self, scene: Scene) -> Ended:
        """Follow the first rollout, which has begun, to its end."""
        return self.stage.follow(scene, "", lambda _: None)

    def gateway(self) -> dict[str, Any]:
        """Return the default RoutingGateway."""
        return self._ours("routinggateways/default")

    def pool(self) -> dict[str, Any]:
        """Return the default TritonPool."""
        return self._ours("tritonpools/default")

    def _ours(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.world.kube.get(
            f"/apis/pointsman.dev/v1alpha1/namespaces/{SYSTEM}/{path}"
        )
        return found


def condition(obj: Mapping[str, Any], kind: str) -> str:
    """Return a condition's status; "" if there is none."""
    found = (obj.get("status") or {}).get("conditions") or []
    return next((str(one["status"]) for one in found if one["type"] == kind), "")


def values() -> dict[str, Any]:
    """Return the chart's values for one small node: the defaults, but for images, sizes and Prometheus."""

    def image(name: str) -> dict[str, str]:
        repository, _, tag = IMAGES[name].rpartition(":")
        return {"repository": repository, "tag": tag}

    return {
        "image": image("pointsman") | {"pullPolicy": "IfNotPresent"},
        "envoyImage": image("envoy"),
        "tritonImage": image("pointsman-triton"),
        "operator": {"resources": SMALL, "extraArgs": [f"--certificate-settle={SETTLE}"]},
        "xds": {"resources": SMALL},
        "evaluator": {"resources": SMALL, "persistence": {"size": "1Gi"}},
        "gateway": {
            "spec": {
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
                "replicas": {"min": 2},
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
                "drain": "10s",
            }
        },
        "tritonPool": {"spec": {"replicas": {"min": 2}, "resources": SMALL}},
        "prometheus": {
            "mode": "bundled",
            "image": image("prometheus") | {"pullPolicy": "IfNotPresent"},
            "resources": SMALL,
            "evidenceInterval": "2s",
            "persistence": {"size": "1Gi"},
        },
    }


def install_charts(world: World, folder: Path) -> Path:
    """Install both charts into a namespace with Pod Security `restricted`; return the values' file."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values()), "utf-8")
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": SYSTEM, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    world.helm("install", "pointsman-crds", str(REPOSITORY / "charts" / "pointsman-crds"), "-n", SYSTEM)
    world.helm(
        *("install", "pointsman", str(REPOSITORY / "charts" / "pointsman"), "-n", SYSTEM),
        *("-f", str(file), "--wait", "--timeout", "5m"),
        deadline_s=360,
    )
    return file


def start_tiers(world: World) -> None:
    """Run the recorded models as pods with Services: two of each, and none leaves in haste."""
    world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MODELS_NAMESPACE}})
    for name, model in TIER_MODELS.items():
        command = ("pointsman", "tier", "--data", "/data", "--model", model, "--speed", "5")
        pods = deployment(
            name,
            IMAGES["pointsman-tiers"],
            *(*command, "--address", f"0.0.0.0:{TIER_PORT}"),
            replicas=2,
            resources=SMALL,
            readinessProbe={"httpGet": {"path": "/healthz", "port": TIER_PORT}, "periodSeconds": 1},
            # It answers until nobody sends it anything new.
            lifecycle={"preStop": {"sleep": {"seconds": 3}}},
        )
        pods["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
        world.apply(pods, service(name, TIER_PORT, TIER_PORT), namespace=MODELS_NAMESPACE)


def cluster_ip(world: World, name: str, namespace: str) -> str:
    """Return a Service's address, which the host reaches as pods do."""
    found = world.kube.get(f"/api/v1/namespaces/{namespace}/services/{name}")
    return str(found["spec"]["clusterIP"])


def settle(world: World, folder: Path) -> Installed:
    """Install everything, train a classifier, wait until the gateway answers; clients have not begun."""
    file = install_charts(world, folder)
    start_tiers(world)
    problem = dataset.load(REPOSITORY / "data" / "mmlu-pro", MODELS)
    _, calibration, test = problem.split()
    facts = example_values(train(problem), calibration, test)
    until_sync(lambda: _exists(world), 60, 0.5, what="the gateway's Service is there")
    addresses = {name: f"{cluster_ip(world, name, MODELS_NAMESPACE)}:{TIER_PORT}" for name in TIER_MODELS}
    facts |= {
        f"{name.removeprefix('tier-').upper()}_URL": f"http://{name}.{MODELS_NAMESPACE}.svc:{TIER_PORT}/v1"
        for name in TIER_MODELS
    }
    facts["TRITON_URL"] = "http://replaced:8000"
    prometheus = "pointsman-prometheus"
    facts["PROMETHEUS_URL"] = f"http://{install.service_host(prometheus, SYSTEM)}:9090"
    lab = {
        "entry": f"http://{cluster_ip(world, install.gateway_name('default'), SYSTEM)}",
        "prometheus": f"http://{cluster_ip(world, prometheus, SYSTEM)}:9090",
        "parts": {name: {"address": address} for name, address in addresses.items()},
    }
    plain = new_tally(test, system_clock().timestamp() - time.monotonic(), facts)
    tally = Witness(**{each.name: getattr(plain, each.name) for each in fields(plain)})
    stage = OnCluster(lab, world.kube, facts, tally, system_clock, RATE)
    stage.set_up()
    return Installed(world, test, stage, tally, file)


def _exists(world: World) -> bool:
    found = world.kubectl("get", "services", "-n", SYSTEM, "-o", "json")
    names = {item["metadata"]["name"] for item in json.loads(found)["items"]}
    return install.gateway_name("default") in names
