"""Reads what a report shows from the API server and from Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from pointsman.clock import Clock
from pointsman.lab import states
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError
from pointsman.lab.report.data import Event, Line, Point, Report, StreamKey, rollouts, unix

_BASE: Final = "/apis/pointsman.dev/v1alpha1/namespaces"
_EVENTS: Final = "/apis/events.k8s.io/v1/namespaces"
_FINEST_S: Final = 2
_MOST_POINTS: Final = 900
_DEADLINE_S: Final = 20

_COST: Final = {
    "spent": "1000 * sum(rate(pointsman_cost_usd_total{$who}[30s]))"
    " / sum(rate(pointsman_requests_total{$who}[30s]))",
    "all to the last tier (estimate)": "1000 * sum(rate(pointsman_baseline_cost_usd_total{$who}[30s]))"
    " / sum(rate(pointsman_requests_total{$who}[30s]))",
}
_LATENCY: Final = {
    f"{what}, {label}": f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{{$who}}[30s])))"
    for what, name in (
        ("whole answer", "pointsman_request_duration_seconds"),
        ("decision", "pointsman_decision_seconds"),
    )
    for label, q in (("half within", 0.5), ("99 % within", 0.99))
}
"""`$who` is the policy's selector. Rates are good enough to draw; no verdict is made of them."""


def gather(kubectl: Kubectl, prometheus: str, policy: str, clock: Clock) -> Report:
    """Collect a policy's (`namespace/name`) report; `LabError` if it is not there or Prometheus is away."""
    namespace, _, name = policy.rpartition("/")
    found = kubectl.get(f"{_BASE}/{namespace}/routingpolicies/{name}")
    revisions = [
        revision
        for revision in kubectl.get(f"{_BASE}/{namespace}/routingpolicyrevisions")["items"]
        if revision["spec"]["policyRef"]["name"] == name
    ]
    tried = rollouts(found, revisions)
    now = clock().timestamp()
    began = min((rollout.began for rollout in tried), default=now - 60)
    reader = _Reader(prometheus, began - 2 * _FINEST_S, now)
    who = f'namespace="{namespace}",policy="{name}"'
    status = found.get("status", {})
    return Report(
        policy=policy,
        written_at=now,
        stable=status.get("stableRevision", ""),
        saved=(status.get("savings") or {}).get("display", ""),
        rollouts=tried,
        weights={labels["revision"]: line for labels, line in reader.lines(f"{states.WEIGHT}{{{who}}}")},
        streams=_streams(reader.lines(f"{states.VERDICT}{{{who}}}")),
        cost=reader.named(_COST, who),
        latency=reader.named(_LATENCY, who),
        events=_events(kubectl, namespace, name),
    )


def only_policy(kubectl: Kubectl) -> str:
    """Return `namespace/name` of the only policy; `LabError` if there is none, or more than one."""
    items = kubectl.get(states.POLICIES)["items"]
    names = [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in items]
    if len(names) != 1:
        raise LabError(f"name one with --policy; there are: {', '.join(names) or 'none'}")
    return names[0]


def _streams(lines: list[tuple[Mapping[str, str], Line]]) -> dict[StreamKey, dict[str, Line]]:
    found: dict[StreamKey, dict[str, Line]] = {}
    for labels, line in lines:
        key = StreamKey(labels["rollout"], labels["stage"], labels["rubric"], labels.get("intent", ""))
        found.setdefault(key, {})[labels["bound"]] = line
    return found


def _events(kubectl: Kubectl, namespace: str, name: str) -> tuple[Event, ...]:
    items = kubectl.get(f"{_EVENTS}/{namespace}/events")["items"]
    return tuple(
        sorted(
            Event(unix(item["eventTime"]), item["type"], item["reason"], item.get("note", ""))
            for item in items
            if item.get("regarding", {}).get("name") == name
            and item["regarding"].get("kind") == "RoutingPolicy"
            and item.get("eventTime")
        )
    )


class _Reader:
    """Range queries over one span, fine enough to draw."""

    def __init__(self, url: str, began: float, ended: float) -> None:
        self._client = PrometheusConnect(url=url, disable_ssl=True)
        self._url = url
        self._span = (datetime.fromtimestamp(began, UTC), datetime.fromtimestamp(ended, UTC))
        self._step = max(_FINEST_S, round((ended - began) / _MOST_POINTS))

    def lines(self, query: str) -> list[tuple[Mapping[str, str], Line]]:
        """Return (labels, points) of every series; points that are no numbers are left out."""
        try:
            answer: list[dict[str, Any]] = self._client.custom_query_range(
                query, *self._span, step=str(self._step), params={"timeout": f"{_DEADLINE_S}s"}
            )
        except (requests.RequestException, PrometheusApiClientException) as error:
            raise LabError(f"Prometheus at {self._url} cannot be asked: {error}") from None
        return [
            (
                series["metric"],
                tuple(Point(float(at), float(value)) for at, value in series["values"] if value != "NaN"),
            )
            for series in answer
        ]

    def named(self, queries: Mapping[str, str], who: str) -> dict[str, Line]:
        """Ask several questions, each with one line for an answer; those without one are left out."""
        found = {name: self.lines(query.replace("$who", who)) for name, query in queries.items()}
        return {name: lines[0][1] for name, lines in found.items() if lines and lines[0][1]}
