"""What shadow and gate did before a restart, read from the store. Blocking; beside a running writer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MICROS = 1_000_000


def cases_done(store: Path, policy: str, rollout: str) -> frozenset[str]:
    """Return the cases of a gate run that were scored or given up."""
    with closing(_open(store)) as db:
        rows = db.execute(
            "SELECT case_id FROM gate_cases WHERE policy = ? AND rollout = ?", (policy, rollout)
        )
        return frozenset(case_id for (case_id,) in rows)


def spent(store: Path, policy: str, since: float) -> list[tuple[float, int]]:
    """Return what shadow replays have cost since then: Unix times and nano-dollars."""
    with closing(_open(store)) as db:
        rows = db.execute(
            "SELECT at_us, cost_nano FROM shadow_requests WHERE policy = ? AND at_us >= ? AND cost_nano > 0",
            (policy, round(since * _MICROS)),
        )
        return [(at_us / _MICROS, cost) for at_us, cost in rows]


def _open(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=2.0)
