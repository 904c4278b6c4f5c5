"""Flagger, Argo Rollouts and us at rest on one API server: until ready, memory, requests, CPU.

One after the other, never at once, in a namespace of its own each. What the objects refer to (Deployments,
Services, Ingresses) is there before the clock starts. Defaults everywhere; Flagger's interval is 1 minute.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import peers_objects as objects
from bench import peers_tables, peers_tools
from bench.peers_trials import count_phase, count_ready
from bench.rig import cpu_seconds, resident_mb
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError
from pointsman.lab.prometheus import Prometheus

Say = Callable[[str], None]
COUNTS = (200, 1000)
REST_S = 180.0
"""Three of Flagger's intervals."""
SETTLE_S = 30.0
WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Fleet:
    """How many objects of one tool are made and how their readiness is seen."""

    tool: peers_tools.Tool
    before: Callable[[str], list[objects.Manifest]]
    """What an object refers to."""
    one: Callable[[str], objects.Manifest]
    ready: Callable[[Kubectl, str], int]
    """Returns how many are ready in a namespace."""


async def measure(say: Say) -> dict[str, Any]:
    """Measure all three with 200 and with 1,000 objects."""
    return await asyncio.to_thread(run, say, COUNTS)


def run(
    say: Say, counts: tuple[int, ...], only: tuple[str, ...] = (), rest_s: float = REST_S
) -> dict[str, Any]:
    """As `measure`, with other numbers, or for some of the tools."""
    results: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder,
        peers_tools.cluster(Path(folder) / "plane", say) as plane,
        Prometheus(Path(folder), {}, say=say) as prometheus,
    ):
        for count in counts:
            for name, make in {"flagger": _flagger, "argo-rollouts": _argo, "pointsman": _ours}.items():
                if not only or name in only:
                    results[f"{name} {count}"] = _measure(
                        plane, make(plane, prometheus.url, say), count, rest_s, say
                    )
    say(peers_tables.at_rest(results))
    return results


def _measure(plane: ControlPlane, fleet: Fleet, count: int, rest_s: float, say: Say) -> dict[str, Any]:
    tool, names = fleet.tool, [f"n{number}" for number in range(count)]
    namespace = f"{tool.name}-{count}"
    say(f"{tool.name} {tool.version}: {count} objects")
    with Kubectl(plane.kubeconfig) as kubectl:
        kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        for name in names:
            kubectl.apply(fleet.before(name), namespace)
        _wait(lambda: _pods_pending(kubectl, namespace) == 0, 300, "the Deployments' pods are Ready")
        with tool.running():
            time.sleep(10)
            empty = _memory(tool)
            start, log = time.monotonic(), peers_tools.audit_log(plane.state_dir)
            offset = log.stat().st_size
            for name in names:
                kubectl.apply([fleet.one(name)], namespace)
            applied = time.monotonic() - start
            _wait(lambda: fleet.ready(kubectl, namespace) >= count, 1800, "all are ready")
            ready = time.monotonic() - start
            first, offset = _requests(log, offset, tool.users)
            say(f"  applied in {applied:.1f} s, all ready after {ready:.1f} s")
            time.sleep(SETTLE_S)
            rest = _rest(plane, tool, count, rest_s)
        _remove(kubectl, namespace)
    memory = rest.pop("resident_mb")
    per_object = {part: (memory[part] - empty[part]) * 1024 / count for part in memory}
    figures = {
        "version": tool.version,
        "objects": count,
        "applied_s": applied,
        "ready_s": ready,
        "resident_mb_empty": empty,
        "resident_mb": memory,
        "resident_kb_per_object": per_object,
        "requests_until_ready_per_object": {verb: n / count for verb, n in sorted(first.items())},
        **rest,
    }
    _tell(figures, say)
    return figures


def _rest(plane: ControlPlane, tool: peers_tools.Tool, count: int, rest_s: float) -> dict[str, Any]:
    """Look at some minutes in which nothing happens."""
    log = peers_tools.audit_log(plane.state_dir)
    offset, cpu, apiserver = log.stat().st_size, _cpu(tool), _cpu_of_server(plane)
    time.sleep(rest_s)
    took, took_server = {p: v - cpu[p] for p, v in _cpu(tool).items()}, _cpu_of_server(plane) - apiserver
    found, _ = _requests(log, offset, tool.users)
    leases = found.pop("lease", 0)
    hourly = 3600 / rest_s / count
    return {
        "rest_s": rest_s,
        "requests_at_rest_per_object_and_hour": {v: n * hourly for v, n in sorted(found.items())},
        "writes_at_rest": sum(found[verb] for verb in WRITES),
        "lease_requests_at_rest_per_hour": leases * 3600 / rest_s,
        "cores_at_rest": {part: seconds / rest_s for part, seconds in took.items()},
        "apiserver_cores_at_rest": took_server / rest_s,
        "resident_mb": _memory(tool),
    }


def _tell(figures: Mapping[str, Any], say: Say) -> None:
    for part, kilobytes in figures["resident_kb_per_object"].items():
        megabytes, cores = figures["resident_mb"][part], figures["cores_at_rest"][part]
        say(f"  {part}: {megabytes:.0f} MB, {kilobytes:.0f} kB an object; {cores:.3f} cores at rest")
    asked = figures["requests_at_rest_per_object_and_hour"]
    words = ", ".join(f"{verb} {number:.1f}" for verb, number in asked.items()) or "none"
    say(f"  requests at rest, per object and hour: {words}; {figures['writes_at_rest']} writes in all")
    say(f"  the API server: {figures['apiserver_cores_at_rest']:.3f} cores")


def _requests(log: Path, offset: int, users: tuple[str, ...]) -> tuple[Counter[str], int]:
    """Count what users asked since an offset of the audit log, by verb; those of Leases as `lease`."""
    found: Counter[str] = Counter()
    with log.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            event = json.loads(line)
            # a watch that goes on has no end yet, any other request is counted at its end
            begins = event["verb"] == "watch"
            if event["user"]["username"] in users and (event["stage"] == "ResponseStarted") == begins:
                resource = event.get("objectRef", {}).get("resource")
                found["lease" if resource == "leases" else event["verb"]] += 1
    return found, offset


def _memory(tool: peers_tools.Tool) -> dict[str, float]:
    return {part: resident_mb(pid) for part, pid in tool.pids().items()}


def _cpu(tool: peers_tools.Tool) -> dict[str, float]:
    return {part: cpu_seconds(pid) for part, pid in tool.pids().items()}


def _cpu_of_server(plane: ControlPlane) -> float:
    return cpu_seconds(plane.apiserver.child.pid) if plane.apiserver.child is not None else 0.0


def _pods_pending(kubectl: Kubectl, namespace: str) -> int:
    deployments = kubectl.get(f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]
    return sum((d.get("status") or {}).get("readyReplicas", 0) < d["spec"]["replicas"] for d in deployments)


def _remove(kubectl: Kubectl, namespace: str) -> None:
    """Delete a namespace with all that is in it, and wait until it is gone."""
    kubectl.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def gone() -> bool:
        try:
            kubectl.get(f"/api/v1/namespaces/{namespace}")
        except LabError:
            return True
        return False

    _wait(gone, 900, f"namespace {namespace} is gone")


def _wait(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(1)


# -- the three -----------------------------------------------------------------------------------------------


def _flagger(plane: ControlPlane, prometheus: str, say: Say) -> Fleet:
    def ready(kubectl: Kubectl, namespace: str) -> int:
        path = f"/apis/flagger.app/v1beta1/namespaces/{namespace}/canaries"
        return count_phase(kubectl, path, "Initialized")

    tool = peers_tools.flagger(plane, prometheus, say)
    return Fleet(tool, lambda name: [objects.deployment(name)], objects.canary, ready)


def _argo(plane: ControlPlane, _: str, say: Say) -> Fleet:
    def ready(kubectl: Kubectl, namespace: str) -> int:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        return count_phase(kubectl, path, "Healthy")

    return Fleet(peers_tools.argo_rollouts(plane, say), objects.around_rollout, objects.rollout, ready)


def _ours(plane: ControlPlane, prometheus: str, _: Say) -> Fleet:
    def ready(kubectl: Kubectl, namespace: str) -> int:
        return count_ready(kubectl, f"/apis/pointsman.dev/v1alpha1/namespaces/{namespace}/routingpolicies")

    def one(name: str) -> objects.Manifest:
        return objects.policy(name, prometheus)

    return Fleet(peers_tools.pointsman(plane), lambda _: [], one, ready)
