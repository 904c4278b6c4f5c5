"""From a status write that changes weights to the last decision on the old weights, at 200 requests/s."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.rig import HOST, Rig, lab, quantile
from pointsman.contract import ALWAYS_STRONG
from pointsman.lab.load import Load, Outcome
from stack import POLICIES, Stack, endless

RATE = 200.0
CHANGES = 120
HOLD_S = 1.5


async def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Flip the traffic between a classified revision and always-strong, with the rollout suspended."""
    with lab() as rig:
        policy = rig.stack.policy("bench", host=HOST, **rig.stack.classified(rig.bundle, "bench-bundle"))
        rig.stack.apply(policy)
        revision = rig.stack.ready("bench")["status"]["stableRevision"]
        # Suspended, the operator leaves the traffic as it is: the bench is its only writer.
        policy["spec"]["suspend"] = True
        rig.stack.apply(policy)
        rig.stack.ready("bench")
        return await _flip(rig, revision, say)


async def _flip(rig: Rig, revision: str, say: Callable[[str], None]) -> dict[str, Any]:
    load = Load(rig.stack.target(HOST), RATE)
    sending = asyncio.create_task(load.run(endless(rig.texts)))
    await asyncio.sleep(2)
    lags: list[float] = []
    # The write happened after it was sent: counting from there can only lengthen the lag.
    for change in range(CHANGES):
        old, new = (revision, ALWAYS_STRONG) if change % 2 == 0 else (ALWAYS_STRONG, revision)
        written = time.monotonic()
        await asyncio.to_thread(_write, rig.stack, new)
        await asyncio.sleep(HOLD_S)
        lags.append(_lag(load.outcomes, old, written))
        load.outcomes.clear()
        if change % 20 == 19:
            say(
                f"{change + 1}/{CHANGES}: p50 {quantile(lags, 0.5) * 1000:.0f}, worst {max(lags) * 1000:.0f} ms"
            )
    load.stop()
    await sending
    result = {
        "changes": CHANGES,
        "rate": RATE,
        "p50_s": quantile(lags, 0.5),
        "p99_s": quantile(lags, 0.99),
        "max_s": max(lags),
    }
    say(f"last decision on the old weights: p50 {result['p50_s']:.3f} s, p99 {result['p99_s']:.3f} s")
    return result


def _lag(outcomes: list[Outcome], old: str, written: float) -> float:
    """Return when the last answer under the old weights came, after the write; its decision was earlier."""
    late = [outcome.done_at - written for outcome in outcomes if outcome.revision == old]
    return max([0.0, *late])


def _write(stack: Stack, revision: str) -> None:
    path = f"{POLICIES.format('default')}/bench/status"
    stack.kube.patch(path, {"status": {"traffic": [{"revision": revision, "weightPermille": 1000}]}})
