"""Small rollouts that a test feeds: policies that need no Triton, counts that follow their status."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from evidence_kit import Exporter
from operator_kit import Cluster, pinned_spec
from pointsman.kube.errors import Gone, KubeError
from pointsman.kube.resources import ACTIONS, POLICIES
from pointsman.rollout.question import GUARD_VERSION, GUARDS

POLICY = "support"
Traffic = tuple[tuple[str, int], ...]


def spec(tier: str, url: str, **rollout: Any) -> dict[str, Any]:
    """Return a policy that pins a tier and proves each change within seconds, by the guard rubrics alone."""
    settings: dict[str, Any] = {
        "first": "Direct",
        "noise": {"window": "1s", "minWindows": 4},
        "shadow": {"mode": "Off"},
        "canary": {"steps": [{"weightPermille": 500, "minDuration": "1s"}]},
        "verdict": {"minimumDropPermille": 200, "toleratedDropPermille": 400, "falsePassPermille": 100},
    }
    found = pinned_spec(tier)
    found["tiers"] = [
        {"name": name, "endpoints": [{"url": "http://127.0.0.1:9/v1"}], "model": "m"}
        for name in ("cheap", "strong")
    ]
    found["evaluation"] = {"prometheus": {"url": url}}
    found["rollout"] = settings | rollout
    return found


class Feeder:
    """The evaluator of one policy, as far as counts go: whatever the status says is served is counted."""

    def __init__(self, cluster: Cluster, exporter: Exporter) -> None:
        self.cluster = cluster
        self.exporter = exporter
        self.broken: set[str] = set()
        """Revisions none of whose requests are answered."""
        self.status: dict[str, Any] = {}
        self.history: list[Traffic] = []
        """The traffic in force, each time that it changed."""

    async def count(self) -> None:
        """Count until cancelled."""
        while True:
            self._serve()
            await asyncio.sleep(0.4)

    async def watch(self) -> None:
        """Follow every version of the policy until cancelled."""
        while True:
            with suppress(KubeError, Gone):
                found = await self.cluster.policy()
                self._take(found)
                version = found["metadata"]["resourceVersion"]
                async for event in self.cluster.admin.watch(POLICIES, version, self.cluster.namespace):
                    if event.type != "BOOKMARK":
                        self._take(event.object)
            await asyncio.sleep(0.05)

    def _take(self, policy: dict[str, Any]) -> None:
        self.status = policy.get("status") or {}
        shares = self.status.get("traffic") or ()
        traffic = tuple(sorted((s["revision"], s["weightPermille"]) for s in shares if s["weightPermille"]))
        if not self.history or self.history[-1] != traffic:
            self.history.append(traffic)

    def _serve(self) -> None:
        """Count some requests of all that serve: 19 of 20 pass every guard, unless the revision is broken."""
        who = {"namespace": self.cluster.namespace, "policy": POLICY}
        rollout = self.status.get("rollout") or {}
        live = bool(rollout) and "endedAt" not in rollout
        stable = self.status.get("stableRevision", "always-strong")
        resting = rollout["incumbent"] if live else stable
        for guard in GUARDS:
            named = {"rubric": guard, "version": GUARD_VERSION}
            for half in ("a", "b"):
                for outcome, amount in (("pass", 38), ("fail", 2)):
                    labels = who | named | {"revision": resting, "half": half, "outcome": outcome}
                    self.exporter.add("pointsman_rubric_halves_total", amount, **labels)
            if live:
                step = rollout["steps"][-1]
                served = named | who
                self.exporter.served(rollout["id"], step["index"], "incumbent", 76, 4, **served)
                if step.get("weightPermille"):
                    good = 0 if rollout["candidate"] in self.broken and guard == "answered" else 76
                    self.exporter.served(rollout["id"], step["index"], "candidate", good, 80 - good, **served)
        if live:
            self.exporter.know(rollout["id"], **who)


async def act(cluster: Cluster, name: str, action: str, **more: Any) -> dict[str, Any]:
    """Create a RolloutAction as the administrator."""
    body = {
        "apiVersion": ACTIONS.api_version,
        "kind": ACTIONS.kind,
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"policyRef": {"name": POLICY}, "action": action, "requestedBy": "admin", **more},
    }
    return await cluster.admin.create(ACTIONS, body, cluster.namespace)
