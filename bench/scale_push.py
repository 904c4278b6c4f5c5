"""One change of traffic at a time, in a fleet at rest: until Envoy has acknowledged it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.rig import quantile
from bench.scale_fleet import Scene, since
from wait import until

CHANGES: Final = 200
LONGEST_S: Final = 240.0
"""No further change is begun after that."""
_DEADLINE_S: Final = 60.0
_DIRECT: Final = {"mode": "Direct"}


async def push(scene: Scene, chosen: Sequence[str]) -> dict[str, Any]:
    """Pin some policies, in turn, to their other tier and back; the operator moves all traffic at once."""
    say = scene.say
    await scene.fleet.apply(chosen, rollout=_DIRECT)
    await asyncio.sleep(3)
    pushed: list[float] = []
    whole: list[float] = []
    begun = time.monotonic()
    while len(pushed) < CHANGES and time.monotonic() - begun < LONGEST_S:
        key, turn = chosen[len(pushed) % len(chosen)], len(pushed) // len(chosen)
        tier = "strong" if turn % 2 else "cheap"
        sent, written, known = await _change(scene, key, tier)
        pushed.append(known - written)
        whole.append(known - sent)
        if len(pushed) % 20 == 0:
            say(f"{len(pushed)} changes, p50 so far {quantile(pushed, 0.5):.3f} s")
    result: dict[str, Any] = {"changes": len(pushed)}
    for what, values in (("status_to_ack", pushed), ("spec_to_ack", whole)):
        result[what] = {
            f"p{round(share * 100)}_s": quantile(values, share) for share in (0.5, 0.9, 0.99, 1.0)
        }
        shown = ", ".join(f"{name} {value:.3f}" for name, value in result[what].items())
        say(f"one change of {len(pushed)}, {what.replace('_', ' ')}: {shown}")
    return result


async def _change(scene: Scene, key: str, tier: str) -> tuple[float, float, float]:
    """Return when the spec was sent, when `status.traffic` was seen, when all Envoys had acknowledged it."""
    followed, acknowledged = scene.followed, scene.acknowledged
    before = followed.traffic[key][-1][1]
    sent = time.monotonic()
    await scene.fleet.apply([key], rollout=_DIRECT, strategy={"type": "Pinned", "pinned": {"tier": tier}})

    def known() -> float | None:
        now = followed.traffic[key][-1][1]
        return since(acknowledged.traffic, key, now) if now != before else None

    await until(known, _DEADLINE_S, 0.005, f"{key} is acknowledged")
    return sent, followed.traffic[key][-1][0], known() or 0.0
