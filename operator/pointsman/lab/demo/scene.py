"""Plays one scene on a lab: applies its policy, follows the rollout to its end, asks what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from prometheus_api_client import PrometheusConnect

from pointsman.clock import Clock
from pointsman.lab.demo.acts import EXAMPLE, Fault, Scene
from pointsman.lab.demo.ended import Ended, Pairs
from pointsman.lab.demo.tally import Tally
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError
from pointsman.lab.report.data import unix
from pointsman.lab.substitute import substitute

NAMESPACE: Final = "default"
POLICY: Final = "exam"
HOST: Final = "exam.example.com"
_BASE: Final = f"/apis/pointsman.dev/v1alpha1/namespaces/{NAMESPACE}"
_EVENTS: Final = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
_LOOK_S: Final = 0.3
_LONGEST_S: Final = 330.0
_RATE: Final = 100.0
"""Requests a second for which that is long enough; slower clients are waited for longer."""
_SETTLE_S: Final = 8.0
"""How long clients are watched after the end: some hundred requests tell quality and cost."""
_RECORD_S: Final = 15.0
_DIRECT_S: Final = 60.0
_WELL: Final = 50
"""Requests that the candidate's own tier answers well before it breaks."""
FAULTS: Final[Mapping[Fault, Mapping[str, Any]]] = {"errors": {"status": 503}, "empty": {"empty": True}}

Look = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class Stage:
    """A running lab with the policy's API server, its tiers and its clients' tally."""

    lab: Mapping[str, Any]
    """The lab's status."""
    kubectl: Kubectl
    values: Mapping[str, str]
    """What `${…}` in the examples stand for."""
    tally: Tally
    clock: Clock
    rate: float = _RATE

    def set_up(self) -> None:
        """Apply what the policies refer to: bundle, references, gate cases."""
        for file in sorted((EXAMPLE / "setup").glob("*.yaml")):
            self.kubectl.apply(self._manifests(file))

    def apply(self, file: Path, *, direct: bool = False) -> None:
        """Apply a policy; `direct`: in force at once, proven by nobody."""
        manifests = self._manifests(file)
        if direct:
            manifests[0]["spec"]["rollout"]["mode"] = "Direct"
        self.kubectl.apply(manifests)

    def status(self) -> Mapping[str, Any]:
        """Return the policy's status; empty before there is one."""
        try:
            found: Mapping[str, Any] = self.kubectl.get(f"{_BASE}/routingpolicies/{POLICY}").get("status", {})
        except LabError as error:
            if "404" in str(error):
                return {}
            raise
        return found

    def bring_into_force(self, file: Path) -> None:
        """Put a policy in force without proof: where the act that would prove it is not played."""
        before = self.status().get("stableRevision")
        self.apply(file, direct=True)
        end = time.monotonic() + _DIRECT_S
        while True:
            status = self.status()
            stable = status.get("stableRevision")
            share = {each["revision"]: each["weightPermille"] for each in status.get("traffic", [])}
            if stable not in {None, before} and share.get(stable) == 1000:  # noqa: PLR2004 - all of it
                return
            if time.monotonic() > end:
                raise LabError(f"{file.name} is not in force after {_DIRECT_S:.0f} s: {_trouble(status)}")
            time.sleep(_LOOK_S)

    def wait_served(self) -> None:
        """Wait until Envoy serves the policy's host."""
        body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
        end = time.monotonic() + _DIRECT_S
        while True:
            answer = httpx.post(
                f"{self.lab['entry']}/v1/chat/completions", json=body, headers={"host": HOST}, timeout=20
            )
            if answer.status_code == httpx.codes.OK:
                return
            if time.monotonic() > end:
                raise LabError(
                    f"{HOST} is not served after {_DIRECT_S:.0f} s: "
                    f"{answer.status_code} {answer.text[:200]}; {_trouble(self.status())}"
                )
            time.sleep(_LOOK_S)

    def follow(self, scene: Scene, before: str, look: Look) -> Ended:
        """Follow the rollout that is not `before` to its end, breaking its tier when its time has come."""
        begin, began = time.monotonic(), self.clock().timestamp()
        start = alone = self.tally.counts()
        ledgers = self._ledgers()
        broken = met_any = False
        while True:
            status = self.status()
            rollout = status.get("rollout") or {}
            mine = rollout.get("id") not in {None, before}
            candidate = str(rollout.get("candidate", ""))
            met = self.tally.by_revision[candidate] if mine else 0
            met_any = met_any or met > 0
            if not met_any:
                alone = self.tally.counts()
            if mine:
                look(status)
            if scene.fault and not broken and met >= _WELL:
                self.put_faults(FAULTS[scene.fault])
                broken = True
            late = time.monotonic() - begin > _LONGEST_S * max(1.0, _RATE / self.rate)
            if late or (mine and rollout.get("endedAt")):
                break
            time.sleep(_LOOK_S)
        seconds, during = time.monotonic() - begin, self.tally.counts() - start
        if broken:
            self.put_faults(None)
        ended_at, served = self.tally.counts(), self._ledgers()
        time.sleep(_SETTLE_S)
        return Ended(
            scene=scene,
            status=self.status() if not late else status,
            record=None if late else self._record(candidate, str(rollout["id"])),
            events=self._events(began),
            seconds=seconds,
            before=alone - start,
            during=during,
            after=self.tally.counts() - ended_at,
            on_candidate=self.tally.by_revision[candidate],
            lag_ms=self._lag(status, candidate),
            served={
                tier: (served[tier][0] - clients, served[tier][1] - replays)
                for tier, (clients, replays) in ledgers.items()
            },
            pairs=self._pairs(str(rollout.get("id", ""))),
            late=late,
        )

    def put_faults(self, faults: Mapping[str, Any] | None) -> None:
        """Break the spare tier, or mend it."""
        url = f"http://{self.lab['parts']['tier-spare']['address']}/faults"
        answer = httpx.delete(url) if faults is None else httpx.put(url, json=dict(faults))
        answer.raise_for_status()

    def _ledgers(self) -> dict[str, tuple[int, int]]:
        """Return by tier how many of clients' requests it answered, and how many replays."""
        found = {}
        for name, part in self.lab["parts"].items():
            if name.startswith("tier-"):
                ledger = httpx.get(f"http://{part['address']}/ledger?count").raise_for_status().json()
                found[name] = (ledger["count"] - ledger["shadow"], ledger["shadow"])
        return found

    def _manifests(self, file: Path) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(substitute(file.read_text("utf-8"), self.values)))

    def _lag(self, status: Mapping[str, Any], candidate: str) -> float | None:
        last = self.tally.last_sent.get(candidate)
        step = status.get("step") or {}
        if last is None or step.get("name") != "RolledBack":
            return None
        return max(0.0, last - unix(step["startedAt"])) * 1000

    def _record(self, revision: str, rollout: str) -> Mapping[str, Any] | None:
        end = time.monotonic() + _RECORD_S
        while time.monotonic() < end:
            found = self.kubectl.get(f"{_BASE}/routingpolicyrevisions/{revision}")
            for attempt in found.get("status", {}).get("attempts", []):
                if attempt["rollout"]["id"] == rollout:
                    recorded: Mapping[str, Any] = attempt
                    return recorded
            time.sleep(_LOOK_S)
        return None

    def _events(self, since: float) -> list[Mapping[str, Any]]:
        return [
            event
            for event in self.kubectl.get(_EVENTS)["items"]
            if event.get("regarding", {}).get("name") == POLICY and unix(event["eventTime"]) >= since
        ]

    def _pairs(self, rollout: str) -> Pairs | None:
        """Return the shadow's pairs of the policy's own rubrics, in one heap."""
        prometheus = PrometheusConnect(url=str(self.lab["prometheus"]), disable_ssl=True)
        query = (
            "sum by (outcome) (pointsman_rubric_pairs_total"
            f'{{rollout="{rollout}",stage="shadow",version!="guard"}})'
        )
        counts = {
            sample["metric"]["outcome"]: round(float(sample["value"][1]))
            for sample in prometheus.custom_query(query)
        }
        if not counts:
            return None
        return Pairs(counts.get("only_incumbent", 0), counts.get("only_candidate", 0), sum(counts.values()))


def _trouble(status: Mapping[str, Any]) -> str:
    waits = [
        f"{condition['type']} {condition['reason']}: {condition['message']}"
        for condition in status.get("conditions", [])
        if condition["status"] != "True"
    ]
    return "; ".join(waits) or "no condition is set yet"
