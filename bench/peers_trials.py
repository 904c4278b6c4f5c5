"""The three tools with the objects of one trial: how they are made, changed, and seen to be at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import peers_objects as objects
from bench import peers_tools, peers_watch
from bench.peers_counts import Subject
from evidence_kit import Exporter
from pointsman.kube.resources import POLICIES, Resource
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl

Say = Callable[[str], None]
WINDOWS = (10, 60)
"""Seconds over which the peers' queries look back; before it breaks, a candidate is good for so long."""
RATE_LIMIT = 500
"""Requests a second that the peers may send: their defaults would slow so many rollouts at once."""


@dataclass(frozen=True)
class Size:
    """How much is tried."""

    each: int = 12
    """Repetitions of each case."""
    identical_s: float = 300.0
    """How long identical arms are watched."""


@dataclass(frozen=True)
class World:
    """What all tools share; `prometheus` is a URL."""

    plane: ControlPlane
    prometheus: str
    exporter: Exporter
    size: Size
    say: Say


@dataclass(frozen=True)
class Trial:
    """A tool with what it is given."""

    label: str
    namespace: str
    tool: peers_tools.Tool
    resource: Resource
    read: peers_watch.Read
    prepare: Callable[[Kubectl, list[Subject]], None]
    """Applies the objects."""
    settled: Callable[[Kubectl], int]
    """Returns how many are at rest."""
    change: Callable[[Kubectl, Subject], None]
    """Changes an object, so that a candidate comes."""
    ours: bool = False


def flagger(world: World) -> Trial:
    """Return Flagger at its shortest interval and threshold."""

    def prepare(kubectl: Kubectl, subjects: list[Subject]) -> None:
        kubectl.apply([objects.metric_template(world.prometheus)], "flagger")
        kubectl.apply([objects.deployment(s.name) for s in subjects], "flagger")
        canaries = [objects.canary(s.name, interval="10s", window=f"{_window(s)}s") for s in subjects]
        kubectl.apply(canaries, "flagger")

    def change(kubectl: Kubectl, subject: Subject) -> None:
        container = {"name": "main", "image": objects.image(2)}
        template = {"spec": {"template": {"spec": {"containers": [container]}}}}
        kubectl.patch(f"/apis/apps/v1/namespaces/flagger/deployments/{subject.name}", template)

    def settled(kubectl: Kubectl) -> int:
        return count_phase(kubectl, "/apis/flagger.app/v1beta1/namespaces/flagger/canaries", "Initialized")

    tool = peers_tools.flagger(world.plane, world.prometheus, world.say, rate=RATE_LIMIT)
    watched = peers_watch.ROUTES, peers_watch.of_route
    return Trial("Flagger", "flagger", tool, *watched, prepare, settled, change)


def argo_rollouts(world: World) -> Trial:
    """Return Argo Rollouts with a measurement a second of which none may fail."""
    path = "/apis/argoproj.io/v1alpha1/namespaces/argo/rollouts"

    def prepare(kubectl: Kubectl, subjects: list[Subject]) -> None:
        templates = [objects.analysis_template(world.prometheus, "argo", f"{w}s") for w in WINDOWS]
        kubectl.apply(templates, "argo")
        for subject in subjects:
            kubectl.apply(objects.around_rollout(subject.name), "argo")
        kubectl.apply([objects.rollout(s.name, window=f"{_window(s)}s") for s in subjects], "argo")

    def change(kubectl: Kubectl, subject: Subject) -> None:
        found = objects.rollout(subject.name, window=f"{_window(subject)}s")
        found["spec"]["template"]["spec"]["containers"][0]["image"] = objects.image(2)
        kubectl.apply([found], "argo")

    tool = peers_tools.argo_rollouts(world.plane, world.say, rate=RATE_LIMIT)
    watched = peers_watch.INGRESSES, peers_watch.of_ingress
    return Trial(
        "Argo Rollouts", "argo", tool, *watched, prepare, lambda k: count_phase(k, path, "Healthy"), change
    )


def pointsman(world: World, look_s: float) -> Trial:
    """Return us with the default verdict."""
    namespace = f"pointsman-{look_s:g}s"
    path = f"/apis/pointsman.dev/v1alpha1/namespaces/{namespace}/routingpolicies"

    def prepare(kubectl: Kubectl, subjects: list[Subject]) -> None:
        kubectl.apply([objects.policy(s.name, world.prometheus) for s in subjects], namespace)

    def change(kubectl: Kubectl, subject: Subject) -> None:
        kubectl.patch(f"{path}/{subject.name}", {"spec": {"strategy": {"pinned": {"tier": "cheap"}}}})

    tool = peers_tools.pointsman(world.plane, look_s=look_s)
    watched = POLICIES, peers_watch.of_policy
    label = f"Pointsman, a look every {look_s:g} s"
    return Trial(label, namespace, tool, *watched, prepare, lambda k: count_ready(k, path), change, ours=True)


def count_phase(kubectl: Kubectl, path: str, phase: str) -> int:
    """Return how many objects have a phase."""
    return sum((item.get("status") or {}).get("phase") == phase for item in kubectl.get(path)["items"])


def count_ready(kubectl: Kubectl, path: str) -> int:
    """Return how many objects are Ready."""
    conditions = [(i.get("status") or {}).get("conditions") or () for i in kubectl.get(path)["items"]]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in found) for found in conditions)


def _window(subject: Subject) -> int:
    return int(subject.name.split("-")[1])
