"""kill -9 of the evaluator at its commits while a rollout is decided from its counts.

Everything is real but the clients: the evaluator, a Prometheus that scrapes it, an operator, an API server.
However the evaluator is cut, the rollout ends as it does without, and nothing is counted twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from entry_feeder import EntryFeeder
from evidence_kit import Exporter
from operator_nursery import Nursery
from pointsman.evaluator.store.store import Store
from pointsman.kube.client import KubeClient
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port
from pointsman.lab.prometheus import Prometheus, Target
from rollout_lanes import PROMOTED, ROLLED_BACK, Lane, Scenario, World, a_lane, change, differences, legal
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

AT_A_TIME = 4
SPREAD = 4
"""Cuts, from the first commit to the last that every run gets to, beside the first of each kind."""
REACHED = 0.6
"""Part of the clean run's commits that every other run makes too: they are batches, by time."""
PATIENCE_S = 150.0
"""Each lane is four processes of its own."""
RESULTS = "pointsman_rubric_results_total"
Cut = tuple[int, Literal["before", "after"]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Return where operators come from."""
    with Nursery() as running:
        yield running


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@dataclass
class House:
    """A lane with an evaluator and a Prometheus of its own."""

    lane: Lane
    folder: Path
    evaluator: Server
    prometheus: str
    http: str
    entries: EntryFeeder

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
        with Store(self.folder / "requests.sqlite") as store:
            totals, recounted = store.totals(), store.recount()
            assert {series: totals[series] for series in recounted} == recounted
            assert store.damage() == []


@asynccontextmanager
async def a_house(world: World, nursery: Nursery, scenario: Scenario, folder: Path) -> AsyncIterator[House]:
    """Run all of it; the first revision is in force."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    http, log = (f"{LOCALHOST}:{free_port()}" for _ in range(2))
    target = {"evaluator": Target(http, interval_s=1)}
    async with AsyncExitStack() as stack:
        prometheus = stack.enter_context(Prometheus(folder, target))
        own = World(world.plane, world.admin, world.exporter, prometheus.url, folder)
        lane = await stack.enter_async_context(a_lane(own, scenario))
        lane.patience_s = PATIENCE_S
        evaluator = _evaluator(lane, folder, http, log)
        await stack.enter_async_context(evaluator)
        house = House(lane, folder, evaluator, prometheus.url, http, EntryFeeder(lane.feeder, log))
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


def _evaluator(lane: Lane, folder: Path, http: str, access_log: str) -> Server:
    settings = {
        "access_log_address": access_log,
        "capture_address": f"{LOCALHOST}:{free_port()}",
        "http_address": http,
        "store": str(folder / "requests.sqlite"),
        "kubeconfig": str(lane.world.plane.kubeconfig_of("evaluator")),
        "namespace": lane.cluster.namespace,
        "cut": str(folder / "cut"),
    }
    file = folder / "evaluator.json"
    file.write_text(json.dumps(settings))
    script = Path(__file__).parents[2] / "mortal_evaluator.py"
    command = [sys.executable, str(script), str(file)]
    return Server(
        Spec("evaluator", command, folder / "evaluator.log", http, lambda: http_ok(http, "/readyz"))
    )


async def rollout(house: House, cut: Cut | None) -> bool:
    """Run the rollout, cut at one commit of it; return whether that happened."""
    lane = house.lane
    house.cut_at(cut)
    await change(lane)

    async def killed_or_whole() -> bool:
        return house.killed or await lane.whole()

    await lane.soon(killed_or_whole, f"whole, cut {cut}")
    house.cut.unlink()  # from here on nothing more is cut
    killed = house.killed
    if killed:
        await house.again()
        await lane.soon(lane.whole, f"whole in the end, cut {cut}")
    return killed


def cuts_of(commits: list[str]) -> list[Cut]:
    """Return where to cut: the first commit of each kind, and some of the others, before and after it."""
    last = int(len(commits) * REACHED)
    first = {commits.index(kind) + 1 for kind in set(commits)}
    spread = {1 + last * part // SPREAD for part in range(SPREAD)}
    ordered = sorted(at for at in first | spread if at <= last)
    return [(at, "before" if number % 2 else "after") for number, at in enumerate(ordered)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", [PROMOTED, ROLLED_BACK], ids=lambda scenario: scenario.name)
async def test_a_rollout_survives_kills_of_the_evaluator(
    plane: ControlPlane, nursery: Nursery, tmp_path: Path, scenario: Scenario
) -> None:
    """Cut at any kind of commit: the same end, traffic is monotone, and counts are what is stored."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        world = World(plane, admin, Exporter(), "", tmp_path)
        async with a_house(world, nursery, scenario, tmp_path / "clean") as clean:
            await rollout(clean, None)
            assert legal(clean.lane), clean.lane.feeder.history
            expected, commits = await clean.lane.end(), clean.commits
            await clean.counted()
        cuts, done = cuts_of(commits), 0
        slots = asyncio.Semaphore(AT_A_TIME)

        async def one(cut: Cut) -> None:
            nonlocal done
            folder = tmp_path / f"{cut[0]}-{cut[1]}"
            async with slots, a_house(world, nursery, scenario, folder) as house:
                killed = await rollout(house, cut)
                done += killed
                assert legal(house.lane), (cut, house.lane.feeder.history)
                assert differences(await house.lane.end(), expected) == [], cut
                await house.counted()

        async with asyncio.TaskGroup() as group:
            for cut in cuts:
                group.create_task(one(cut))
        assert done >= len(cuts) - 1, f"{done} of {len(cuts)} cuts were made: {commits}"
