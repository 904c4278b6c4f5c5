"""A policy in a house of its own: evaluator, Prometheus and operator as processes; played clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from prometheus_client.parser import text_string_to_metric_families

from entry_feeder import EntryFeeder
from operator_nursery import Nursery
from pointsman.evaluator.store.address import Address, address
from pointsman.evaluator.store.store import Store
from pointsman.lab.checks import http_ok
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port
from pointsman.lab.prometheus import Prometheus, Target
from rollout_lanes import Lane, Scenario, World, a_lane
from wait import until

PATIENCE_S = 150.0
"""Each lane is four processes of its own."""
RESULTS = "pointsman_rubric_results_total"
Cut = tuple[int, Literal["before", "after"]]


@dataclass
class House:
    """A lane with an evaluator and a Prometheus of its own."""

    lane: Lane
    folder: Path
    evaluator: Server
    prometheus: str
    http: str
    entries: EntryFeeder
    store: Address

    @property
    def cut(self) -> Path:
        """The file that says at which commit the evaluator ends."""
        return self.folder / "cut"

    @property
    def commits(self) -> list[str]:
        """What each commit wrote, since the file was there."""
        log = Path(f"{self.cut}.log")
        return log.read_text().splitlines() if log.exists() else []

    def cut_at(self, cut: Cut | None) -> None:
        """From now on count commits, and cut at one of them."""
        # moved there whole: the evaluator looks for it at each commit
        fresh = self.folder / "cut.new"
        fresh.write_text(json.dumps(cut or (0, "after")))
        fresh.rename(self.cut)

    @property
    def killed(self) -> bool:
        """Tell whether the evaluator is gone."""
        child = self.evaluator.child
        return child is not None and child.exit_code() is not None

    async def again(self) -> None:
        """Start the evaluator anew, as a cluster does at once."""
        child = self.evaluator.start()
        await asyncio.to_thread(child.wait_ready)

    async def counted(self) -> None:
        """Hold Prometheus against the evaluator, and the evaluator's totals against its rows."""
        self.entries.serving = False
        await until(lambda: self.entries.delivered, 20, what="all entries are delivered")

        async def same() -> bool:
            async with httpx.AsyncClient(timeout=5) as http:
                text = (await http.get(f"http://{self.http}/metrics")).text
                found = await http.get(f"{self.prometheus}/api/v1/query", params={"query": f"sum({RESULTS})"})
            own = sum(
                sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == RESULTS
            )
            seen = found.json()["data"]["result"]
            return bool(seen) and own > 0 and float(seen[0]["value"][1]) == own

        await until(same, PATIENCE_S, 0.5, "Prometheus has the evaluator's counts")
        await asyncio.to_thread(self.evaluator.stop)
        with Store(self.store, shared=True) as store:
            totals, recounted = store.all_totals(), store.recount()
            assert {series: totals[series] for series in recounted} == recounted
            assert store.damage() == []


@asynccontextmanager
async def a_house(
    world: World, nursery: Nursery, scenario: Scenario, folder: Path, store: str = ""
) -> AsyncIterator[House]:
    """Run all of it; the first revision is in force. `store`: a file or URL; "": a file in the folder."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    http, log = (f"{LOCALHOST}:{free_port()}" for _ in range(2))
    target = {"evaluator": Target(http, interval_s=1)}
    async with AsyncExitStack() as stack:
        prometheus = stack.enter_context(Prometheus(folder, target))
        own = World(world.plane, world.admin, world.exporter, prometheus.url, folder)
        lane = await stack.enter_async_context(a_lane(own, scenario))
        lane.patience_s = PATIENCE_S
        place = address(store or str(folder / "requests.sqlite"))
        evaluator = _evaluator(lane, folder, http, log, place)
        await stack.enter_async_context(evaluator)
        house = House(lane, folder, evaluator, prometheus.url, http, EntryFeeder(lane.feeder, log), place)
        lane.tasks += [
            asyncio.create_task(house.entries.serve()),
            asyncio.create_task(house.entries.deliver()),
        ]
        lane.tasks.append(asyncio.create_task(lane.drive()))
        name, kubeconfig = lane.cluster.namespace, str(world.plane.kubeconfig_of("operator"))
        arguments = [
            *("--kubeconfig", kubeconfig, "--http-address", f"{LOCALHOST}:{free_port()}"),
            *("--namespace", name, "--lease-namespace", name, "--evidence-interval", "1s"),
        ]
        stack.callback(os.kill, nursery.start(lane.log, arguments), signal.SIGKILL)
        await lane.soon(lane.first_serves, "the first revision is in force")
        yield house


def _evaluator(lane: Lane, folder: Path, http: str, access_log: str, store: Address) -> Server:
    settings = {
        "access_log_address": access_log,
        "capture_address": f"{LOCALHOST}:{free_port()}",
        "http_address": http,
        "store": str(store),
        "kubeconfig": str(lane.world.plane.kubeconfig_of("evaluator")),
        "namespace": lane.cluster.namespace,
        "cut": str(folder / "cut"),
    }
    file = folder / "evaluator.json"
    file.write_text(json.dumps(settings))
    script = Path(__file__).with_name("mortal_evaluator.py")
    command = [sys.executable, str(script), str(file)]
    return Server(
        Spec(
            "evaluator",
            command,
            folder / "evaluator.log",
            http,
            lambda: http_ok(http, "/readyz"),
            start_deadline_s=PATIENCE_S,
        )
    )
