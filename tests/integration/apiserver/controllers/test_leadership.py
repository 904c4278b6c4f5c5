"""Two operators and one Lease: the leader is killed, frozen, or cut off from the API server.

Whoever was away too long ends itself; nothing of its own is taken any more once another leads; and the
rollout that was under way ends as if nothing had been.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from evidence_kit import Exporter, target
from operator_kit import Cluster, is_promoted, pinned_spec
from operator_nursery import Nursery
from parting_proxy import Answer, Fault, PartingProxy
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import KubeError
from pointsman.kube.resources import LEASES
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Prometheus
from rollout_kit import act
from rollout_lanes import PROMOTED, Lane, World, a_lane, change, differences
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.prometheus]

AT_A_TIME = 3
LEASE = "12s"
"""Longer than a busy machine's hiccups."""
LOST_LEASE = 3
ACTIONS = 3
"""That the user gives."""
EVERY = 3
"""Each third write, frozen and parted by turns."""


@pytest.fixture
async def world(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[World]:
    """Return what the lanes share."""
    with Exporter() as exporter, Prometheus(tmp_path, {"evaluator": target(exporter)}) as prometheus:
        async with await KubeClient.open(str(plane.kubeconfig)) as admin:
            yield World(plane, admin, exporter, prometheus.url, tmp_path)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Return where operators come from."""
    with Nursery() as running:
        yield running


@dataclass
class Process:
    """An operator."""

    pid: int
    log: Path

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended itself."""
        return Nursery.exit_code(self.log, self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@contextmanager
def operator(
    nursery: Nursery, cluster: Cluster, kubeconfig: Path, log: Path, name: str, *more: str
) -> Iterator[Process]:
    """Run an operator for one namespace, with its Lease there."""
    arguments = [
        *("--kubeconfig", str(kubeconfig), "--http-address", f"{LOCALHOST}:{free_port()}"),
        *("--lease-identity", name, "--evidence-interval", "1s"),
        *("--namespace", cluster.namespace, "--lease-namespace", cluster.namespace, *more),
    ]
    process = Process(nursery.start(log, arguments), log)
    try:
        yield process
    finally:
        process.signal(signal.SIGKILL)


async def leader(cluster: Cluster) -> str:
    """Return who holds the Lease."""
    try:
        lease = await cluster.admin.get(LEASES, "pointsman-operator", cluster.namespace)
    except KubeError:
        return ""
    return str(lease["spec"].get("holderIdentity") or "")


async def leads(cluster: Cluster, name: str) -> bool:
    return await leader(cluster) == name


@dataclass
class Pair:
    """Two operators, each behind a proxy of its own; `a` leads."""

    lane: Lane
    a: Process
    first: PartingProxy
    second: PartingProxy

    async def followed(self) -> float:
        """Wait until the other leads; return when."""
        await self.lane.soon(lambda: leads(self.lane.cluster, "b"), "the other leads")
        return time.monotonic()

    async def ended(self) -> float:
        """Wait until the first has ended itself as one that lost its Lease; return when."""
        await until(lambda: self.a.code is not None, 60, 0.02, "the first ends itself")
        assert self.a.code == LOST_LEASE
        return time.monotonic()


@asynccontextmanager
async def pair(nursery: Nursery, lane: Lane) -> AsyncIterator[Pair]:
    """Run two operators on a lane."""
    folder, cluster, lane.patience_s = lane.world.folder, lane.cluster, 150.0
    kubeconfig = lane.world.plane.kubeconfig_of("operator")
    more = ("--lease-duration", LEASE)
    async with PartingProxy(kubeconfig, folder) as first, PartingProxy(kubeconfig, folder) as second:
        with operator(nursery, cluster, first.kubeconfig, lane.log, "a", *more) as a:
            first.pid = a.pid
            await lane.soon(lambda: leads(cluster, "a"), "the first leads")
            with operator(nursery, cluster, second.kubeconfig, lane.log, "b", *more):
                await lane.soon(lane.first_serves, "the first revision is in force")
                first.writes.clear()
                first.answers.clear()
                yield Pair(lane, a, first, second)


async def applied(lane: Lane, name: str, action: str, **more: Any) -> None:
    """Give an action, and wait for its effect in the status."""
    made = await act(lane.cluster, name, action, **more)
    uid = made["metadata"]["uid"]
    await lane.soon(lambda: is_applied(lane, uid), f"{action} is applied")


async def is_applied(lane: Lane, uid: str) -> bool:
    return any(found["uid"] == uid for found in lane.feeder.status.get("lastActions") or ())


async def play(lane: Lane) -> None:
    """Play the user: another revision, aborted in its canary, tried again and approved."""
    await change(lane)
    await lane.soon(lambda: splits(lane), "the canary has its share")
    revision = lane.feeder.status["rollout"]["candidate"]
    await applied(lane, "no", "Abort", revision=revision)
    await applied(lane, "again", "Retry", revision=revision)
    await lane.soon(lambda: awaits(lane), "approval is awaited")
    await applied(lane, "yes", "Approve", revision=revision, step=lane.feeder.status["step"]["name"])


async def splits(lane: Lane) -> bool:
    return len(lane.feeder.history[-1]) > 1


async def awaits(lane: Lane) -> bool:
    return (lane.feeder.status.get("step") or {}).get("state") == "AwaitingApproval"


async def end(lane: Lane) -> dict[str, Any]:
    """Return what is left; two actions of one second stand in the order of their uids, which are random."""
    left = await lane.end()
    left["status"]["lastActions"].sort(key=lambda action: action["name"])
    return left


async def struck(both: Pair, fault: Fault, at: int) -> list[Answer] | None:
    """Strike the leader at its n-th write; return its writes that were answered when another led.

    None: the rollout was whole before that, as a run may need one write less.
    """
    lane = both.lane
    both.first.strike = (fault, at)

    async def struck_or_whole() -> bool:
        return both.first.struck.is_set() or (
            len(lane.feeder.status.get("lastActions") or ()) == ACTIONS and await lane.whole()
        )

    await lane.soon(struck_or_whole, f"{fault} at write {at}")
    if not both.first.struck.is_set():
        return None
    if fault == "parted":
        ended_at = await both.ended()
        led_at = await both.followed()
        assert ended_at < led_at, "it acted no more when another could lead"
    else:
        led_at = await both.followed()
    # some of what the other does is done when the first comes back
    await lane.soon(lambda: wrote(both), "the other writes")
    if fault == "frozen":
        both.a.signal(signal.SIGCONT)
        await both.ended()
    await both.first.deliver()
    return [answer for answer in both.first.answers if answer.at > led_at]


async def wrote(both: Pair) -> bool:
    return bool(both.second.answers) or await both.lane.whole()


@pytest.mark.timeout(580)
async def test_a_leader_that_was_away_ends_and_nothing_is_done_twice(world: World, nursery: Nursery) -> None:
    """Frozen or cut off: it ends with code 3, its late writes are refused, and the end is the same."""
    async with a_lane(world, PROMOTED) as clean, pair(nursery, clean) as both:
        await play(clean)
        await clean.soon(clean.whole, "the clean run is whole")
        expected, writes, way = await end(clean), list(both.first.writes), clean.feeder.history
        assert both.second.writes == []
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(fault: Fault, at: int) -> None:
        async with slots, a_lane(world, PROMOTED) as lane, pair(nursery, lane) as both:
            playing = asyncio.create_task(play(lane))
            late = await struck(both, fault, at)
            await playing
            await lane.soon(lane.whole, f"whole in the end, {fault} at {at}")
            # what it tells an action is a copy of the policy's status: the same words from either do no harm
            taken = [
                answer.what for answer in late or () if answer.taken and "/rolloutactions/" not in answer.what
            ]
            assert taken == [], (fault, at)
            assert lane.feeder.history == way, (fault, at)
            assert differences(await end(lane), expected) == [], (fault, at)
            uids = [done["uid"] for done in lane.feeder.status["lastActions"]]
            assert len(uids) == len(set(uids)) == ACTIONS

    async with asyncio.TaskGroup() as group:
        for number, at in enumerate(range(1, len(writes) + 1, EVERY)):
            group.create_task(one("parted" if number % 2 else "frozen", at))


@pytest.mark.timeout(120)
async def test_a_killed_leader_is_followed_within_15_seconds(
    plane: ControlPlane, cluster: Cluster, nursery: Nursery, tmp_path: Path
) -> None:
    """With the Lease as it is by default: from kill -9 to a change that the other has put in force."""
    kubeconfig, log = plane.kubeconfig_of("operator"), tmp_path / "operators.log"
    await cluster.apply(pinned_spec("one"))

    async def promoted() -> bool:
        return is_promoted(await cluster.policy())

    address = f"{LOCALHOST}:{free_port()}"
    with operator(nursery, cluster, kubeconfig, log, "a") as a:
        await until(lambda: leads(cluster, "a"), 30, 0.05, "the first leads")
        with operator(nursery, cluster, kubeconfig, log, "b", "--http-address", address):
            await until(promoted, 30, 0.05, "promoted by the first")
            await until(lambda: stands_by(address), 30, 0.05, "the second stands by")
            a.signal(signal.SIGKILL)
            await cluster.change(**pinned_spec("two"))
            await until(promoted, 15, 0.05, "promoted by the second")


async def stands_by(address: str) -> bool:
    async with httpx.AsyncClient(timeout=2) as http:
        try:
            return (await http.get(f"http://{address}/readyz")).text.strip() == "standing by"
        except httpx.TransportError:
            return False
