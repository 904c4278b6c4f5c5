"""kill -9 of the operator at every write of a rollout: before it, and after it but before the answer.

Every operator is a process of its own that ends by SIGKILL; the next one finishes what it had begun.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cut_proxy import CutProxy, Moment, normal
from evidence_kit import Exporter, target
from operator_kit import Cluster, is_promoted
from operator_nursery import Nursery
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import Unavailable
from pointsman.kube.resources import ACTIONS
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Prometheus
from rollout_kit import Feeder, act, spec
from wait import NotInTimeError, until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

AT_A_TIME = 8
TOLD = frozenset(
    {
        *(
            "lastTransitionTime",
            "startedAt",
            "endedAt",
            "at",
            "createdAt",
            "recordedAt",
            "until",
            "countedAt",
        ),
        *("id", "uid", "message", "because", "verdicts", "noise", "savings", "deadline", "generation"),
        *("samplesNeeded", "minutesNeeded", "expectedHours", "advice", "observedGeneration", "attempts"),
    }
)
"""Times, ids and numbers: they may differ between two runs."""


@dataclass
class World:
    """What all lanes share."""

    plane: ControlPlane
    admin: KubeClient
    exporter: Exporter
    prometheus: str
    nursery: Nursery
    folder: Path


@dataclass
class Lane:
    """One policy in a namespace of its own, its feeder, and its operator behind a proxy."""

    world: World
    cluster: Cluster
    feeder: Feeder
    scenario: Scenario
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def operator(self, kubeconfig: Path) -> int:
        """Start an operator for this namespace alone; return its process id."""
        name = self.cluster.namespace
        arguments = [
            *("--kubeconfig", str(kubeconfig), "--http-address", f"{LOCALHOST}:{free_port()}"),
            *("--namespace", name, "--lease-namespace", name, "--lease-identity", "one"),
            *("--lease-duration", "1h", "--evidence-interval", "1s"),
        ]
        return self.world.nursery.start(self.world.folder / f"{name}.log", arguments)

    async def drive(self) -> None:
        """Play the user: approve once where approval is awaited."""
        while not self.ended:
            step = self.feeder.status.get("step") or {}
            if step.get("state") == "AwaitingApproval" and not await self.actions():
                revision = self.feeder.status["candidateRevision"]
                await act(self.cluster, "go", "Approve", revision=revision, step=step["name"])
            await asyncio.sleep(0.1)

    @property
    def ended(self) -> bool:
        """Tell whether the rollout has ended."""
        return "endedAt" in (self.feeder.status.get("rollout") or {})

    @property
    def candidate(self) -> str:
        """The revision that was tried."""
        return str(self.feeder.status["rollout"]["candidate"])

    async def first_serves(self) -> bool:
        """Tell whether the first revision has all of the traffic."""
        return bool(self.feeder.status.get("stableRevision")) and is_promoted(await self.cluster.policy())

    async def whole(self) -> bool:
        """Tell whether the rollout has ended and all that follows from it is written."""
        if not self.ended:
            return False
        try:
            end = await self.end()
        except Unavailable:  # a busy machine
            return False
        return bool(end["records"].get(self.candidate)) and None not in end["effects"]

    async def soon(self, check: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait; if in vain, say what the status is and what the operator logged."""
        try:
            await until(check, 60, 0.1, what)
        except NotInTimeError as error:
            log = (self.world.folder / f"{self.cluster.namespace}.log").read_text()[-2000:]
            told = json.dumps(self.feeder.status.get("step")), json.dumps(self.feeder.status.get("rollout"))
            raise AssertionError(f"{error}\n{told}\n{log}") from error

    async def actions(self) -> list[dict[str, Any]]:
        """Return the namespace's RolloutActions."""
        return (await self.world.admin.list(ACTIONS, self.cluster.namespace)).items

    async def end(self) -> dict[str, Any]:
        """Return what is left in the end, but for times, ids and numbers."""
        policy = await self.cluster.policy()
        records = {
            revision["metadata"]["name"]: [
                (attempt["rollout"]["outcome"], attempt["rollout"]["attempt"])
                for attempt in (revision.get("status") or {}).get("attempts", [])
            ]
            for revision in await self.cluster.revisions()
        }
        effects = [action.get("status", {}).get("effect") for action in await self.actions()]
        return {"status": normal(policy["status"], TOLD), "records": records, "effects": effects}


@dataclass(frozen=True)
class Scenario:
    """A change, and how it must end."""

    name: str
    rollout: dict[str, Any]
    broken: bool
    outcome: str


PROMOTED = Scenario("promoted", {"approval": ["Promotion"]}, broken=False, outcome="Promoted")
ROLLED_BACK = Scenario("rolled back", {}, broken=True, outcome="RolledBack")


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Return the test's own counts."""
    with Exporter() as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that scrapes them every second."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"evaluator": target(exporter)}) as running:
        yield running.url


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Return where operators come from."""
    with Nursery() as running:
        yield running


@pytest.fixture
async def world(
    plane: ControlPlane, exporter: Exporter, prometheus: str, nursery: Nursery, tmp_path: Path
) -> AsyncIterator[World]:
    """Return what the lanes share."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        yield World(plane, admin, exporter, prometheus, nursery, tmp_path)


@asynccontextmanager
async def a_lane(world: World, scenario: Scenario) -> AsyncIterator[Lane]:
    """Make a policy in a namespace of its own, whose requests are counted."""
    cluster = Cluster(world.admin, str(world.plane.kubeconfig_of("operator")))
    await cluster.make()
    await cluster.apply(spec("strong", world.prometheus, **scenario.rollout))
    lane = Lane(world, cluster, Feeder(cluster, world.exporter), scenario)
    lane.tasks = [asyncio.create_task(lane.feeder.watch()), asyncio.create_task(lane.feeder.count())]
    try:
        yield lane
    finally:
        for task in lane.tasks:
            task.cancel()
        await asyncio.gather(*lane.tasks, return_exceptions=True)
        world.exporter.forget(cluster.namespace)
        await cluster.clear()


async def change(lane: Lane) -> None:
    """Ask for another revision; where the scenario says so, a broken one."""
    await lane.cluster.change(strategy={"type": "Pinned", "pinned": {"tier": "cheap"}})
    if lane.scenario.broken:
        stable = lane.feeder.status["stableRevision"]

        def seen() -> str:
            candidate = str((lane.feeder.status.get("rollout") or {}).get("candidate", stable))
            return "" if candidate == stable else candidate

        async def mark() -> None:
            lane.feeder.broken.add(await until(seen, 60, 0.02))

        lane.tasks.append(asyncio.create_task(mark()))


async def cut_lane(lane: Lane, cut: tuple[int, Moment] | None) -> tuple[bool, list[str]]:
    """Run the rollout, killed at one write of it; return whether that happened, and all writes of it."""
    async with CutProxy(lane.world.plane.kubeconfig_of("operator"), lane.world.folder) as proxy:
        pid = proxy.pid = lane.operator(proxy.kubeconfig)
        driving = asyncio.create_task(lane.drive())
        try:
            await lane.soon(lane.first_serves, "the first revision is in force")
            proxy.writes.clear()
            proxy.cut = cut
            await change(lane)
            await lane.soon(partial(killed_or_whole, lane, proxy), f"whole, cut {cut}")
            if proxy.killed.is_set():
                proxy.cut = None
                pid = proxy.pid = lane.operator(proxy.kubeconfig)
                await lane.soon(lane.whole, f"whole in the end, cut {cut}")
        finally:
            os.kill(pid, signal.SIGKILL)
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
        return proxy.killed.is_set(), proxy.writes


async def killed_or_whole(lane: Lane, proxy: CutProxy) -> bool:
    return proxy.killed.is_set() or await lane.whole()


def legal(lane: Lane) -> bool:
    """Tell whether the traffic only ever went the way that the scenario allows."""
    stable, candidate = lane.feeder.history[1][0][0], lane.candidate
    both = tuple(sorted(((stable, 500), (candidate, 500))))
    end = candidate if lane.scenario.outcome == "Promoted" else stable
    return lane.feeder.history[1:] == [((stable, 1000),), both, ((end, 1000),)]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", [PROMOTED, ROLLED_BACK], ids=lambda scenario: scenario.name)
async def test_a_rollout_survives_a_kill_at_every_write(world: World, scenario: Scenario) -> None:
    """However it is cut, the next process brings it to the same end; nothing twice, traffic is monotone."""
    async with a_lane(world, scenario) as clean:
        _, writes = await cut_lane(clean, None)
        assert legal(clean), clean.feeder.history
        expected = await clean.end()
    # before write n + 1 is after write n, but for what the dead process knew
    cuts: list[tuple[int, Moment]] = [(1, "before"), *((n, "after") for n in range(1, len(writes) + 1))]
    slots, told, done = asyncio.Semaphore(AT_A_TIME), "; ".join(writes), 0

    async def one(cut: tuple[int, Moment]) -> None:
        nonlocal done
        async with slots, a_lane(world, scenario) as lane:
            killed, _ = await cut_lane(lane, cut)
            done += killed
            assert legal(lane), (cut, lane.feeder.history)
            assert await lane.end() == expected, (cut, told)

    async with asyncio.TaskGroup() as group:
        for cut in cuts:
            group.create_task(one(cut))
    assert done >= len(cuts) - 2, f"{done} of {len(cuts)} cuts were made: {told}"
