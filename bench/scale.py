"""Thousands of policies on one kube-apiserver: ready, memory, silence, one change, 50 rollouts turned bad."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.scale_fleet import Acknowledged, Fleet, Followed, Scene, keys, pinned
from bench.scale_house import House, furnish, house
from bench.scale_push import push
from bench.scale_rest import rest
from bench.scale_rollbacks import rollbacks
from pointsman.kube.client import KubeClient

POLICIES: Final = 1000
REST_S: Final = 60.0
ROLLOUTS: Final = 50
SUSPENDED: Final = 10
READY_S: Final = 900.0
EVERY_S: Final = 10.0


async def measure(
    say: Callable[[str], None], *, policies: int = POLICIES, rest_s: float = REST_S
) -> dict[str, Any]:
    """Run it all; `say` tells how it goes."""
    with tempfile.TemporaryDirectory(prefix="pointsman-scale-") as folder:
        begun = time.monotonic()

        def tell(words: str) -> None:
            say(f"[{time.monotonic() - begun:5.0f} s] {words}")

        # in this thread: the servers end with the one that started them
        with house(Path(folder)) as running:
            tell("the house stands")
            async with await KubeClient.open(str(running.plane.kubeconfig)) as admin:
                await furnish(admin)
                return await _measure(running, admin, policies, rest_s, tell)


async def _measure(
    running: House, admin: KubeClient, policies: int, rest_s: float, say: Callable[[str], None]
) -> dict[str, Any]:
    followed, acknowledged = Followed(), Acknowledged(running.xds)
    scene = Scene(running, Fleet(running, admin), followed, acknowledged, say)
    every = keys(policies)
    tasks = [asyncio.create_task(followed.informer(admin).run())]
    try:
        result: dict[str, Any] = {
            "policies": policies,
            "ready": await _ready(scene, every),
        }
        result["rest"] = await rest(scene, policies, rest_s)
        tasks.append(asyncio.create_task(acknowledged.follow()))
        free = [key for key in every if pinned(key)]
        await asyncio.sleep(2)
        most = min(SUSPENDED, len(free) // 4)
        result["push"] = await push(scene, free[:most])
        chosen = free[most : most + ROLLOUTS]
        result["rollbacks"] = await rollbacks(scene, chosen)
        result["memory_mb_in_the_end"] = running.memory()
        return result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ready(scene: Scene, every: list[str]) -> dict[str, Any]:
    running, fleet, followed, say = scene.house, scene.fleet, scene.followed, scene.say
    await fleet.prepare(every)
    before = running.memory()
    begun = time.monotonic()
    applying = asyncio.create_task(fleet.apply(every))
    done_at: list[float] = []
    applying.add_done_callback(lambda _: done_at.append(time.monotonic()))
    while len(followed.ready) < len(every):
        if time.monotonic() - begun > READY_S:
            raise SystemExit(f"{len(followed.ready)} of {len(every)} Ready after {READY_S:.0f} s")
        await asyncio.sleep(EVERY_S if len(every) - len(followed.ready) > len(every) // 10 else 0.5)
        if applying.done():
            await applying
        running.check()
        say(f"{len(followed.status)} applied, {len(followed.ready)} of {len(every)} Ready")
    await applying
    applied = done_at[0] - begun
    took = max(followed.ready.values()) - begun
    await asyncio.sleep(10)
    memory = running.memory()
    per = {name: (memory[name] - before[name]) * 1000 / len(every) for name in memory}
    say(f"applied in {applied:.0f} s, all Ready {took:.1f} s after the first was sent")
    for name, megabytes in memory.items():
        say(f"{name}: {megabytes:.0f} MB ({before[name]:.0f} MB before): {per[name]:.0f} kB a policy")
    return {
        "applied_s": applied,
        "ready_s": took,
        "memory_mb": memory,
        "memory_mb_before": before,
        "memory_kb_per_policy": per,
    }
