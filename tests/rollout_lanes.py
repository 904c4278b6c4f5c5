"""Rollouts of one policy each, side by side on one API server and one Prometheus; how they must end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cut_proxy import normal
from evidence_kit import Exporter
from operator_kit import Cluster, is_promoted
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import Unavailable
from pointsman.kube.resources import ACTIONS
from pointsman.lab.controlplane import ControlPlane
from rollout_kit import Feeder, act, spec
from wait import NotInTimeError, until

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
    folder: Path


@dataclass
class Lane:
    """One policy in a namespace of its own, and its feeder."""

    world: World
    cluster: Cluster
    feeder: Feeder
    scenario: Scenario
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    patience_s: float = 60.0
    """How long each of its stages may take."""

    @property
    def log(self) -> Path:
        """Where its operators log."""
        return self.world.folder / f"{self.cluster.namespace}.log"

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
            await until(check, self.patience_s, 0.1, what)
        except NotInTimeError as error:
            log = self.log.read_text()[-2000:]
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


def legal(lane: Lane) -> bool:
    """Tell whether the traffic only ever went the way that the scenario allows."""
    stable, candidate = lane.feeder.history[1][0][0], lane.candidate
    both = tuple(sorted(((stable, 500), (candidate, 500))))
    end = candidate if lane.scenario.outcome == "Promoted" else stable
    return lane.feeder.history[1:] == [((stable, 1000),), both, ((end, 1000),)]


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return where two ends differ, and how."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{at}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for n, (a, b) in pairs for found in differences(a, b, f"{at}[{n}]")]
    return [] if one == other else [f"{at}: {one!r}, not {other!r}"]
