"""What an end-to-end test sees of a running lab: its parts, its API server, its entry."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pointsman.lab.kubectl import Kubectl
from pointsman.lab.load import Prompt, Target
from wait import until_sync

HOST = "chaos.example.com"
POLICIES = "/apis/pointsman.dev/v1alpha1/namespaces/{}/routingpolicies"
REVISIONS = "/apis/pointsman.dev/v1alpha1/namespaces/{}/routingpolicyrevisions"


def pointsman(
    *arguments: str, deadline_s: float = 120, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    command = [str(Path(sys.executable).with_name("pointsman")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline_s, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@dataclass(frozen=True)
class Bundle:
    """A trained classifier."""

    data: bytes
    threshold_permille: int

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.data).hexdigest()


class Stack:
    """A running lab."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._addresses: dict[str, str] = {}
        self.kube = Kubectl(Path(self.status()["kubeconfig"]))

    def status(self) -> dict[str, Any]:
        """Return `pointsman lab status --json`."""
        status: dict[str, Any] = json.loads(
            pointsman("lab", "status", "--state", str(self.state), "--json", check=False).stdout
        )
        return status

    def part(self, name: str) -> dict[str, Any]:
        """Return one part's status."""
        part: dict[str, Any] = self.status()["parts"][name]
        return part

    def kill(self, name: str) -> int:
        """`kill -9` a part; return how often it had been restarted before."""
        part = self.part(name)
        os.kill(part["pid"], signal.SIGKILL)
        return int(part["restarts"])

    def back(self, name: str, restarts: int, deadline_s: float = 30) -> dict[str, Any]:
        """Wait until a killed part is restarted and healthy."""

        def healthy() -> dict[str, Any] | None:
            part = self.part(name)
            return part if part["restarts"] > restarts and part["healthy"] else None

        return until_sync(healthy, deadline_s, 0.1, f"{name} back")

    @property
    def entry(self) -> str:
        """Where requests go."""
        return str(self.status()["entry"])

    def target(self, host: str, model: str = "auto") -> Target:
        """Return the load's target for a policy's host."""
        return Target(self.entry, host, model)

    def address(self, name: str) -> str:
        """Return where a part listens: fixed for the life of the lab."""
        if name not in self._addresses:
            self._addresses[name] = str(self.part(name)["address"])
        return self._addresses[name]

    def tier_url(self, tier: str) -> str:
        """Return the base URL of `tier-cheap` or `tier-strong`."""
        return f"http://{self.address(tier)}/v1"

    def policy(self, name: str, *, host: str | None = None, **changes: Any) -> dict[str, Any]:
        """Return a policy on the lab's tiers that pins to strong; `changes` replace fields of its spec."""
        spec: dict[str, Any] = {
            "gatewayRef": {"name": "default"},
            "match": {"hostnames": [host or f"{name}.example.com"], "models": ["auto"]},
            "tiers": [
                {
                    "name": "cheap",
                    "endpoints": [{"url": self.tier_url("tier-cheap")}],
                    "model": "gemini-1.5-flash-002",
                    "price": {"inputPerMillion": "0.075", "outputPerMillion": "0.30"},
                },
                {
                    "name": "strong",
                    "endpoints": [{"url": self.tier_url("tier-strong")}],
                    "model": "gemini-1.5-pro-002",
                    "price": {"inputPerMillion": "1.25", "outputPerMillion": "5.00"},
                },
            ],
            "strategy": {"type": "Pinned", "pinned": {"tier": "strong"}},
            "rollout": {"mode": "Direct"},
        }
        return {
            "apiVersion": "pointsman.dev/v1alpha1",
            "kind": "RoutingPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {key: value for key, value in (spec | changes).items() if value is not None},
        }

    def classified(self, bundle: Bundle, config_map: str, **classifier: Any) -> dict[str, Any]:
        """Return `strategy` and `triton` of a policy that asks a bundle."""
        return {
            "strategy": {
                "type": "Classifier",
                "classifier": {
                    "artifact": {"uri": f"configmap://{config_map}", "sha256": bundle.sha256},
                    "thresholds": [{"tier": "cheap", "minScorePermille": bundle.threshold_permille}],
                    "deadline": "200ms",
                }
                | classifier,
            },
            "triton": {"external": {"urls": [f"http://{self.address('triton')}"]}},
        }

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Apply manifests as a user does."""
        self.kube.apply(manifests)

    def get(self, name: str) -> dict[str, Any]:
        """Return a policy."""
        policy: dict[str, Any] = self.kube.get(f"{POLICIES.format('default')}/{name}")
        return policy

    def revisions(self, policy: str) -> list[dict[str, Any]]:
        """Return the revisions of a policy."""
        items = self.kube.get(REVISIONS.format("default"))["items"]
        return [item for item in items if item["spec"]["policyRef"]["name"] == policy]

    def ready(self, name: str, deadline_s: float = 40) -> dict[str, Any]:
        """Wait until the policy is Ready for its present generation, and Envoy has it; return it."""

        def settled() -> dict[str, Any] | None:
            found = self.get(name)
            state = condition(found, "Ready")
            current = state.get("observedGeneration") == found["metadata"]["generation"]
            return found if current and state.get("status") == "True" else None

        try:
            return until_sync(settled, deadline_s, 0.1)
        except AssertionError:
            raise AssertionError(
                f"{name} is not Ready: {json.dumps(self.get(name).get('status'), indent=1)}"
            ) from None

    def drop(self, name: str) -> None:
        """Delete a policy and wait until it is gone."""
        self.kube.delete(
            {"apiVersion": "pointsman.dev/v1alpha1", "kind": "RoutingPolicy", "metadata": {"name": name}}
        )

        def gone() -> bool:
            items = self.kube.get(POLICIES.format("default"))["items"]
            return name not in [item["metadata"]["name"] for item in items]

        until_sync(gone, 10)

    def evaluator(self, path: str) -> Any:
        """GET a path of the evaluator."""
        return httpx.get(f"http://{self.address('evaluator')}{path}", timeout=10).raise_for_status().json()

    def stats(self, pattern: str) -> dict[str, int]:
        """Return Envoy's counters whose names match."""
        admin = self.address("envoy")
        answer = httpx.get(f"http://{admin}/stats", params={"filter": pattern, "format": "json"}, timeout=10)
        return {stat["name"]: stat["value"] for stat in answer.json()["stats"] if "value" in stat}


def condition(policy: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return one condition of a policy, or an empty one."""
    found = policy.get("status", {}).get("conditions", [])
    return next((entry for entry in found if entry["type"] == kind), {})


def config_map(name: str, bundle: Bundle) -> dict[str, Any]:
    """Return a ConfigMap that holds a bundle."""
    data = {"bundle.zip": base64.b64encode(bundle.data).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}


def endless(texts: Iterable[str]) -> Iterable[Prompt]:
    """Yield prompts for ever."""
    every = list(texts)
    index = 0
    while True:
        yield Prompt(f"p{index}", every[index % len(every)])
        index += 1
