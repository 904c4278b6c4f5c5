"""From a status write that changes weights to the last decision on the old weights, at 200 requests/s."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.rig import HOST, Rig, lab, quantile
from pointsman.clock import system_clock
from pointsman.contract import ALWAYS_STRONG
from pointsman.lab.load import Load
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
    changes: list[tuple[float, str]] = []
    for change in range(CHANGES):
        old, new = (revision, ALWAYS_STRONG) if change % 2 == 0 else (ALWAYS_STRONG, revision)
        # The write happened after it was sent: counting from there can only lengthen the lag.
        changes.append((system_clock().timestamp(), old))
        await asyncio.to_thread(_write, rig.stack, new)
        await asyncio.sleep(HOLD_S)
        if change % 20 == 19:
            say(f"{change + 1}/{CHANGES} changes")
    load.stop()
    await sending
    await asyncio.sleep(2)  # the access log's last entries are on their way to the store
    lags = _lags(rig.state, [*changes, (float("inf"), "")])
    failed = sum(outcome.status != 200 for outcome in load.outcomes)
    result = {
        "changes": CHANGES,
        "rate": RATE,
        "requests": len(load.outcomes),
        "failed": failed,
        "p50_s": quantile(lags, 0.5),
        "p99_s": quantile(lags, 0.99),
        "max_s": max(lags),
    }
    p50, p99, worst = (f"{lag:.3f}" for lag in (result["p50_s"], result["p99_s"], result["max_s"]))
    say(f"{CHANGES} changes, {len(load.outcomes)} requests, {failed} failed")
    say(f"last decision on the old weights: p50 {p50} s, p99 {p99} s, worst {worst} s after the write")
    return result


def _lags(state: Path, changes: list[tuple[float, str]]) -> list[float]:
    """Return, per change, how long after the write Envoy last decided by the old weights (its own clock)."""
    with closing(sqlite3.connect(f"file:{next(state.rglob('*.sqlite'))}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT (start_us + coalesce(decision_us, 0)) / 1e6, revision FROM requests"
        ).fetchall()
    lags = []
    for (written, old), (until, _) in pairwise(changes):
        late = [
            moment - written for moment, revision in rows if revision == old and written <= moment < until
        ]
        lags.append(max([0.0, *late]))
    return lags


def _write(stack: Stack, revision: str) -> None:
    path = f"{POLICIES.format('default')}/bench/status"
    stack.kube.patch(path, {"status": {"traffic": [{"revision": revision, "weightPermille": 1000}]}})
