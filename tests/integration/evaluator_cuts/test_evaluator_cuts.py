"""kill -9 of the evaluator at its commits while a rollout is decided from its counts.

Everything is real but the clients: the evaluator, a Prometheus that scrapes it, an operator, an API server.
However the evaluator is cut, the rollout ends as it does without, and nothing is counted twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator_house import Cut, House, a_house
from evidence_kit import Exporter
from operator_nursery import Nursery
from pointsman.kube.client import KubeClient
from pointsman.lab.controlplane import ControlPlane
from rollout_lanes import PROMOTED, ROLLED_BACK, Scenario, World, change, differences, legal

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

AT_A_TIME = 4
SPREAD = 4
"""Cuts, from the first commit to the last that every run gets to, beside the first of each kind."""
REACHED = 0.6
"""Part of the clean run's commits that every other run makes too: they are batches, by time."""


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
