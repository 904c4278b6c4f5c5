"""What the demo does to the lab: apply the quickstart, wait until it is in force, send, ask for counts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from prometheus_api_client import PrometheusConnect

from pointsman.lab.controlplane import REPOSITORY
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.load import Load, Outcome, Prompt, Target
from pointsman.lab.process import LabError
from pointsman.lab.substitute import bundle_values, lab_values, substitute
from pointsman.routers.dataset import Problem

QUICKSTART: Final = REPOSITORY / "examples" / "01-quickstart"
POLICY: Final = "default/quickstart"
HOST: Final = "llm.example.com"
_PATH: Final = "/apis/pointsman.dev/v1alpha1/namespaces/default/routingpolicies/quickstart"
_READY_S: Final = 60.0
_COUNTED_S: Final = 30.0
_GUARDS: Final = (
    'sum by (rubric, outcome) (pointsman_guard_results_total{namespace="default",policy="quickstart"})'
)

Say = Callable[[str], None]


def apply_quickstart(status: Mapping[str, Any], bundle: bytes, say: Say) -> None:
    """Apply the quickstart's manifests and wait until the policy is Ready, saying what it waits for."""
    values = lab_values(status) | bundle_values(bundle)
    with Kubectl(Path(status["kubeconfig"])) as kubectl:
        for file in sorted(QUICKSTART.glob("*.yaml")):
            kubectl.apply(yaml.safe_load_all(substitute(file.read_text("utf-8"), values)))
            say(f"applied {file.relative_to(REPOSITORY)}")
        _wait_ready(kubectl, say)


def _wait_ready(kubectl: Kubectl, say: Say) -> None:
    end = time.monotonic() + _READY_S
    shown = ""
    while True:
        policy = kubectl.get(_PATH)
        generation = policy["metadata"]["generation"]
        conditions = {c["type"]: c for c in policy.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {})
        if ready.get("status") == "True" and ready.get("observedGeneration") == generation:
            say(f"Ready: {policy['status'].get('stableRevision', '')} is in force")
            return
        waits = "; ".join(
            f"{kind} {c['reason']}: {c['message']}"
            for kind, c in conditions.items()
            if kind != "Ready" and c["status"] != "True"
        )
        if waits and waits != shown:
            say(f"waiting for {waits}")
            shown = waits
        if time.monotonic() > end:
            raise LabError(
                f"the policy is not Ready after {_READY_S:.0f} s: {waits or 'no condition is set yet'}"
            )
        time.sleep(0.1)


def prompts(test: Problem, *, seed: int, stream_share: float) -> list[Prompt]:
    """Return every test prompt once, in random order; a share of them asks for a stream."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    order = list(range(len(test)))
    draw.shuffle(order)
    return [Prompt(test.prompt_ids[at], test.texts[at], draw.random() < stream_share) for at in order]


async def send(
    status: Mapping[str, Any], chosen: list[Prompt], rate: float, on_outcome: Callable[[Outcome], None]
) -> list[Outcome]:
    """Send the prompts at a steady rate, each in a session of its own."""
    load = Load(Target(status["entry"], HOST), rate, on_outcome=on_outcome)
    return await load.run(chosen)


def summary(status: Mapping[str, Any], requests: int) -> dict[str, Any]:
    """Return the evaluator's summary of the policy, once it has accounted for every request."""
    url = f"http://{status['parts']['evaluator']['address']}/v1/summary"
    end = time.monotonic() + _COUNTED_S
    while True:
        found: dict[str, Any] = (
            httpx.get(url, params={"policy": POLICY}, timeout=10).raise_for_status().json()
        )
        if found["requests"] + found["accessLog"]["lost"] >= requests:
            return found
        if time.monotonic() > end:
            raise LabError(
                f"the evaluator counted {found['requests']} of {requests} requests; nothing is said lost"
            )
        time.sleep(0.2)


def guards(status: Mapping[str, Any], requests: int) -> dict[str, dict[str, int]]:
    """Return counts by guard rubric and outcome, as Prometheus has them, once it has seen every request."""
    prometheus = PrometheusConnect(url=status["prometheus"], disable_ssl=True)
    end = time.monotonic() + _COUNTED_S
    while True:
        counts: dict[str, dict[str, int]] = {}
        for sample in prometheus.custom_query(_GUARDS):
            labels = sample["metric"]
            counts.setdefault(labels["rubric"], {})[labels["outcome"]] = round(float(sample["value"][1]))
        if counts and all(sum(outcome.values()) >= requests for outcome in counts.values()):
            return counts
        if time.monotonic() > end:
            raise LabError(
                f"Prometheus counted {counts or 'nothing'}, not {requests} requests in each guard rubric"
            )
        time.sleep(0.5)
