"""Rollouts for chaos: short, of candidates that are what they are for a known reason."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from chaos_kit import pods
from installed_kit import MODELS_NAMESPACE, TIER_PORT, Installed
from pointsman.lab.demo.acts import EXAMPLE
from wait import until_sync

POLICY_PATH: Final = "/apis/pointsman.dev/v1alpha1/namespaces/default/routingpolicies/exam"
SPARE: Final = "tier-spare"
_NOISE: Final = {"window": "5s", "minWindows": 4, "maxDuration": "3m"}
_VERDICT: Final = {
    "minimumDropPermille": 150,
    "toleratedDropPermille": 250,
    "falseAlarmPermille": 10,
    "falsePassPermille": 50,
}
"""Wide margins: a verdict takes seconds."""


def good(installed: Installed, threshold: int, first_step: str = "15s") -> dict[str, Any]:
    """Return the policy of act 2 with another threshold of its cheap tier: no better and no worse."""
    found = _policy(installed, "2-better.yaml", first_step)
    found["spec"]["strategy"]["classifier"]["thresholds"][0]["minScorePermille"] = threshold
    return found


def on_spare(installed: Installed, timeout: str, first_step: str = "60s") -> dict[str, Any]:
    """Return the same policy with its cheap model at a home of its own, which can be broken alone."""
    found = _policy(installed, "5-own-tier.yaml", first_step)
    tier = next(tier for tier in found["spec"]["tiers"] if tier["name"] == "cheap")
    tier["timeouts"] = {"idle": timeout}
    return found


def begin(installed: Installed, policy: Mapping[str, Any], deadline_s: float = 120) -> str:
    """Apply a policy; wait until its canary has users' requests; return the candidate's revision."""
    before = rollout(installed).get("id")
    installed.world.kube.apply([policy])

    def met() -> str:
        status = installed.stage.status()
        found = status.get("rollout") or {}
        candidate = str(found.get("candidate", ""))
        if found.get("id") in {None, before} or status.get("step", {}).get("name") != "Canary":
            return ""
        return candidate if installed.tally.by_revision[candidate] else ""

    return until_sync(met, deadline_s, 0.2, what="the canary has users' requests")


def ended(installed: Installed, candidate: str, deadline_s: float = 240) -> str:
    """Wait for the end of a candidate's rollout; return its outcome."""

    def outcome() -> str:
        found = rollout(installed)
        return str(found.get("outcome") or "") if found.get("candidate") == candidate else ""

    return until_sync(outcome, deadline_s, 0.2, what=f"the rollout of {candidate} has ended")


def rollout(installed: Installed) -> Mapping[str, Any]:
    """Return the rollout in the policy's status."""
    found: Mapping[str, Any] = installed.stage.status().get("rollout") or {}
    return found


def weights(installed: Installed) -> dict[str, int]:
    """Return the traffic in force: revision → permille."""
    return {each["revision"]: each["weightPermille"] for each in installed.stage.status().get("traffic", [])}


def addresses_of(installed: Installed, tier: str) -> list[str]:
    """Return where the pods of a tier listen."""
    found = pods(installed.world, MODELS_NAMESPACE, f"app={tier}")
    return [f"{pod['status']['podIP']}:{TIER_PORT}" for pod in found]


def break_tier(addresses: Sequence[str], faults: Mapping[str, Any] | None) -> None:
    """Break every pod of a tier, or mend it (None)."""
    for address in addresses:
        url = f"http://{address}/faults"
        answer = httpx.delete(url) if faults is None else httpx.put(url, json=dict(faults))
        answer.raise_for_status()


def _policy(installed: Installed, file: str, first_step: str) -> dict[str, Any]:
    found = copy.deepcopy(installed.stage.manifests(EXAMPLE / file)[0])
    for without in ("gate", "rubrics"):
        # What the guards count of every request is evidence enough, in seconds.
        found["spec"]["evaluation"].pop(without, None)
    found["spec"]["rollout"] |= {
        "noise": _NOISE,
        "shadow": {"mode": "Off"},
        "verdict": _VERDICT,
        "canary": {
            "stickyBy": {"type": "Header", "header": "x-session-id"},
            "steps": [{"weightPermille": 500, "minDuration": first_step}],
            "maxDuration": "10m",
        },
    }
    return found
