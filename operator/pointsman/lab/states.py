"""Policies' status as time series, for the lab's report: what kube-state-metrics does for custom resources.

The API server keeps only the present; Prometheus remembers how weights and intervals moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError

POLICIES: Final = "/apis/pointsman.dev/v1alpha1/routingpolicies"
WEIGHT: Final = "pointsman_lab_weight_permille"
STEP: Final = "pointsman_lab_step"
VERDICT: Final = "pointsman_lab_verdict_permille"

BOUNDS: Final = {
    "drop": "dropPermille",
    "low": "lowPermille",
    "high": "highPermille",
    "fail_beyond": "failBeyondPermille",
    "pass_within": "passWithinPermille",
}
"""Label `bound` of the verdicts, and the field of the status that it is."""


def families(policies: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    """Turn policies into metrics. Pure."""
    weight = GaugeMetricFamily(
        WEIGHT, "Share of the traffic in force.", labels=["namespace", "policy", "revision"]
    )
    step = GaugeMetricFamily(
        STEP,
        "1 for the step that the rollout is in.",
        labels=["namespace", "policy", "rollout", "step", "state"],
    )
    verdict = GaugeMetricFamily(
        VERDICT,
        "Drop of a rubric's pass rate: as measured, its interval, and its margins.",
        labels=["namespace", "policy", "rollout", "stage", "rubric", "intent", "bound"],
    )
    for policy in policies:
        whose = [policy["metadata"]["namespace"], policy["metadata"]["name"]]
        status = policy.get("status", {})
        rollout = status.get("rollout", {}).get("id", "")
        for share in status.get("traffic", []):
            weight.add_metric([*whose, share["revision"]], share["weightPermille"])
        at = status.get("step")
        if at:
            step.add_metric([*whose, rollout, at["name"], at.get("state", "Running")], 1)
        for found in status.get("verdicts", []):
            which = [*whose, rollout, found["stage"], found["rubric"], found.get("intent", "")]
            for bound, field in BOUNDS.items():
                if field in found:
                    verdict.add_metric([*which, bound], found[field])
    yield from (weight, step, verdict)


class States(Collector):
    """Asks the API server at each scrape."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def collect(self) -> Iterator[Metric]:
        """Yield every family; nothing while the API server is away, which Prometheus shows as a gap."""
        try:
            policies = self._kubectl.get(POLICIES)["items"]
        except LabError:
            return iter(())
        return families(policies)

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: the API server need not be there yet."""
        return ()
