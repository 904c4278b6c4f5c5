"""50 rollouts in canary at once; each turns bad at a moment of its own, and is timed until it is out.

Clients and Envoy's access log are fed to the real evaluator; everything after it is real: its counts, the
scrape, the operator's look, the status, the xds server, Envoy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
import httpx
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from bench.rig import quantile
from bench.scale_fleet import Followed, Scene, Traffic
from bench.scale_house import House
from evaluator_builders import entry
from pointsman.clock import system_clock
from pointsman.contract import ACCESS_LOG_NAME, Key
from wait import until

APART_S: Final = 1.0
"""Between two rollouts that turn bad."""
EVERY_S: Final = 0.5
REQUESTS: Final = 2
"""Of each arm, every `EVERY_S`."""
BURST: Final = 60
"""Requests that fail at once, in each `EVERY_S` since a candidate turned bad."""
SESSIONS: Final = 500
_PATIENCE_S: Final = 180.0
_STRATEGY: Final = {"type": "Pinned", "pinned": {"tier": "cheap"}}
_ROLLOUT: Final[dict[str, Any]] = {
    "first": "Direct",
    "noise": {"window": "1s", "minWindows": 4},
    "shadow": {"mode": "Off"},
    "canary": {"steps": [{"weightPermille": 500, "minDuration": "1h"}]},
    "verdict": {"minimumDropPermille": 200, "toleratedDropPermille": 400, "falsePassPermille": 100},
}


class Clients:
    """Requests to some policies, shared out as their status says: 19 of 20 answered, of a bad arm none."""

    def __init__(self, address: str, fleet: Followed, chosen: Sequence[str]) -> None:
        self._address = address
        self._fleet = fleet
        self._chosen = chosen
        self._number = 0
        self.bad: dict[str, str] = {}
        """Policy: its revision that answers nothing."""

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            await als_pb2_grpc.AccessLogServiceStub(channel).StreamAccessLogs(self._messages())

    async def _messages(self) -> AsyncIterator[als_pb2.StreamAccessLogsMessage]:
        first = als_pb2.StreamAccessLogsMessage()
        first.identifier.node.id, first.identifier.log_name = "scale", ACCESS_LOG_NAME
        yield first
        while True:
            message = als_pb2.StreamAccessLogsMessage()
            for key in self._chosen:
                message.http_logs.log_entry.extend(self._moment(key))
            yield message
            await asyncio.sleep(EVERY_S)

    def _moment(self, key: str) -> list[HTTPAccessLogEntry]:
        status = self._fleet.status[key]
        served = [share["revision"] for share in status.get("traffic") or () if share["weightPermille"]]
        bad = self.bad.get(key)
        amount = BURST if bad in served else REQUESTS
        return [self._request(key, status, revision, bad) for revision in served for _ in range(amount)]

    def _request(
        self, key: str, status: dict[str, Any], revision: str, bad: str | None
    ) -> HTTPAccessLogEntry:
        self._number += 1
        good = self._number % 20 != 0 and revision != bad
        made = entry(
            {
                Key.POLICY.value: key,
                Key.REVISION.value: revision,
                Key.TIER.value: "strong",
                Key.SERVED_TIER.value: "strong",
                Key.REASON.value: "pinned",
                Key.ROLLOUT.value: _arm(status.get("rollout") or {}, revision),
            },
            request_id=f"scale-{self._number}",
            session=f"session-{self._number % SESSIONS}",
            status=200 if good else 500,
        )
        made.common_properties.start_time.FromDatetime(system_clock())
        made.common_properties.duration.FromMilliseconds(1)
        return made


def _arm(rollout: dict[str, Any], revision: str) -> str:
    if not rollout.get("steps") or "endedAt" in rollout:
        return ""
    arm = {rollout["incumbent"]: "i", rollout["candidate"]: "c"}.get(revision)
    return f"{rollout['id']}/{rollout['steps'][-1]['index']}/{arm}" if arm else ""


async def rollbacks(scene: Scene, chosen: Sequence[str]) -> dict[str, Any]:
    """Begin the rollouts, turn them bad one by one; times from the scrape that held what decided."""
    followed, acknowledged, say = scene.followed, scene.acknowledged, scene.say
    clients = Clients(scene.house.access_log, followed, chosen)
    serving = asyncio.create_task(clients.run())
    begun = time.monotonic()
    await scene.fleet.apply(chosen, strategy=_STRATEGY, rollout=_ROLLOUT)
    await until(
        lambda: serving.done() or _in_canary(followed, chosen) == len(chosen), _PATIENCE_S, 0.2, "canary"
    )
    say(f"{len(chosen)} rollouts in canary after {time.monotonic() - begun:.1f} s")
    await asyncio.sleep(10)
    for key in chosen:
        clients.bad[key] = followed.status[key]["rollout"]["candidate"]
        await asyncio.sleep(APART_S)

    def out() -> bool:
        return serving.done() or all(_without(followed.traffic, key, clients.bad[key]) for key in chosen)

    await until(out, _PATIENCE_S, 0.2, "all are rolled back")
    await until(
        lambda: all(_without(acknowledged.traffic, key, clients.bad[key]) for key in chosen),
        60,
        0.1,
        "and known",
    )
    serving.cancel()
    times = [await _times(scene, key, clients.bad[key]) for key in chosen]
    result: dict[str, Any] = {"rollouts": len(chosen)}
    for place, what in enumerate(("first_bad_count_to_status", "deciding_scrape_to_status", "to_envoy")):
        values = [each[place] for each in times]
        result[what] = {f"p{round(s * 100)}_s": quantile(values, s) for s in (0.5, 0.99, 1.0)}
        shown = ", ".join(f"{name} {value:.2f}" for name, value in result[what].items())
        say(f"rollback, {what.replace('_', ' ')}: {shown}")
    return result


def _in_canary(followed: Followed, chosen: Sequence[str]) -> int:
    return sum(len(followed.status[key].get("traffic") or ()) > 1 for key in chosen)


def _without(history: dict[str, list[tuple[float, Traffic]]], key: str, revision: str) -> float | None:
    """Return since when a policy's traffic is without a revision that it was with; None: it is not."""
    past = history.get(key) or []
    with_it = [place for place, (_, traffic) in enumerate(past) if revision in dict(traffic)]
    return past[with_it[-1] + 1][0] if with_it and with_it[-1] + 1 < len(past) else None


async def _times(scene: Scene, key: str, bad: str) -> tuple[float, float, float]:
    """Return seconds: first bad count visible → status; the scrape that decided → status; → Envoy."""
    house, followed, acknowledged = scene.house, scene.followed, scene.acknowledged
    skew = system_clock().timestamp() - time.monotonic()
    status_at = (_without(followed.traffic, key, bad) or 0.0) + skew
    envoy_at = (_without(acknowledged.traffic, key, bad) or 0.0) + skew
    rollout = followed.status[key]["rollout"]
    verdicts = followed.status[key].get("verdicts") or []
    decided = next(one for one in verdicts if one["verdict"] == "Fail")
    labels = f'rollout="{rollout["id"]}",arm="candidate",rubric="{decided["rubric"]}"'
    every = await _samples(house, f"pointsman_rubric_results_total{{{labels}}}")
    failed = await _samples(house, f'pointsman_rubric_results_total{{{labels},outcome="fail"}}')
    deciding = next(at for at, count in every if count >= decided["candidate"])
    # a good candidate fails one of twenty: the burst is the first great step
    before = failed[0][1]
    first_bad = deciding
    for at, count in failed:
        if count - before >= BURST:
            first_bad = min(at, deciding)
            break
        before = count
    return status_at - first_bad, status_at - deciding, envoy_at - deciding


async def _samples(house: House, selector: str) -> list[tuple[float, float]]:
    """Return (Unix time of the scrape, sum over the series), oldest first, of the last ten minutes."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        query = {"query": f"{selector}[10m]"}
        answer = (await http.get(f"{house.prometheus.url}/api/v1/query", params=query)).raise_for_status()
    sums: dict[float, float] = {}
    for series in answer.json()["data"]["result"]:
        for at, value in series["values"]:
            sums[at] = sums.get(at, 0.0) + float(value)
    return sorted(sums.items())
