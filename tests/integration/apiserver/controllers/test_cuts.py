"""kill -9 of the operator at every write of a rollout: before it, and after it but before the answer.

Every operator is a process of its own that ends by SIGKILL; the next one finishes what it had begun.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from cut_proxy import CutProxy, Moment
from evidence_kit import Exporter, target
from operator_nursery import Nursery
from pointsman.kube.client import KubeClient
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Prometheus
from rollout_lanes import PROMOTED, ROLLED_BACK, Lane, Scenario, World, a_lane, change, legal

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

AT_A_TIME = 8


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
    plane: ControlPlane, exporter: Exporter, prometheus: str, tmp_path: Path
) -> AsyncIterator[World]:
    """Return what the lanes share."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        yield World(plane, admin, exporter, prometheus, tmp_path)


def start(nursery: Nursery, lane: Lane, kubeconfig: Path) -> int:
    """Start an operator for a lane's namespace alone; return its process id."""
    name = lane.cluster.namespace
    arguments = [
        *("--kubeconfig", str(kubeconfig), "--http-address", f"{LOCALHOST}:{free_port()}"),
        *("--namespace", name, "--lease-namespace", name, "--lease-identity", "one"),
        *("--lease-duration", "1h", "--evidence-interval", "1s"),
    ]
    return nursery.start(lane.log, arguments)


async def cut_lane(nursery: Nursery, lane: Lane, cut: tuple[int, Moment] | None) -> tuple[bool, list[str]]:
    """Run the rollout, killed at one write of it; return whether that happened, and all writes of it."""
    async with CutProxy(lane.world.plane.kubeconfig_of("operator"), lane.world.folder) as proxy:
        pid = proxy.pid = start(nursery, lane, proxy.kubeconfig)
        driving = asyncio.create_task(lane.drive())
        try:
            await lane.soon(lane.first_serves, "the first revision is in force")
            proxy.writes.clear()
            proxy.cut = cut
            await change(lane)
            await lane.soon(partial(killed_or_whole, lane, proxy), f"whole, cut {cut}")
            if proxy.killed.is_set():
                proxy.cut = None
                pid = proxy.pid = start(nursery, lane, proxy.kubeconfig)
                await lane.soon(lane.whole, f"whole in the end, cut {cut}")
        finally:
            os.kill(pid, signal.SIGKILL)
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
        return proxy.killed.is_set(), proxy.writes


async def killed_or_whole(lane: Lane, proxy: CutProxy) -> bool:
    return proxy.killed.is_set() or await lane.whole()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", [PROMOTED, ROLLED_BACK], ids=lambda scenario: scenario.name)
async def test_a_rollout_survives_a_kill_at_every_write(
    world: World, nursery: Nursery, scenario: Scenario
) -> None:
    """However it is cut, the next process brings it to the same end; nothing twice, traffic is monotone."""
    async with a_lane(world, scenario) as clean:
        _, writes = await cut_lane(nursery, clean, None)
        assert legal(clean), clean.feeder.history
        expected = await clean.end()
    # before write n + 1 is after write n, but for what the dead process knew
    cuts: list[tuple[int, Moment]] = [(1, "before"), *((n, "after") for n in range(1, len(writes) + 1))]
    slots, told, done = asyncio.Semaphore(AT_A_TIME), "; ".join(writes), 0

    async def one(cut: tuple[int, Moment]) -> None:
        nonlocal done
        async with slots, a_lane(world, scenario) as lane:
            killed, _ = await cut_lane(nursery, lane, cut)
            done += killed
            assert legal(lane), (cut, lane.feeder.history)
            assert await lane.end() == expected, (cut, told)

    async with asyncio.TaskGroup() as group:
        for cut in cuts:
            group.create_task(one(cut))
    assert done >= len(cuts) - 2, f"{done} of {len(cuts)} cuts were made: {told}"
