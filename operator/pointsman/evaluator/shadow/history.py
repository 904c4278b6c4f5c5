"""What shadow and gate did before a restart, or elsewhere, read from the store. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.evaluator.store.connect import reading

if TYPE_CHECKING:
    from pointsman.evaluator.store.address import Address

_MICROS = 1_000_000


def cases_done(store: Address, policy: str, rollout: str) -> frozenset[str]:
    """Return the cases of a gate run that were scored or given up."""
    with reading(store) as db:
        rows = db.execute(
            "SELECT case_id FROM gate_cases WHERE policy = ? AND rollout = ?", (policy, rollout)
        )
        return frozenset(case_id for (case_id,) in rows)


def spent(store: Address, policy: str, since: float, replica: str) -> list[tuple[float, int]]:
    """Return what a replica's shadow replays have cost since then: Unix times and nano-dollars."""
    with reading(store) as db:
        rows = db.execute(
            "SELECT at_us, cost_nano FROM shadow_requests WHERE policy = ? AND at_us >= ? AND cost_nano > 0"
            " AND replica = ?",
            (policy, round(since * _MICROS), replica),
        )
        return [(at_us / _MICROS, cost) for at_us, cost in rows]


def spent_by_others(store: Address, since: float, replica: str) -> dict[str, int]:
    """Return what all other replicas' shadow replays have cost since then: policy → nano-dollars."""
    with reading(store) as db:
        rows = db.execute(
            "SELECT policy, sum(cost_nano) FROM shadow_requests WHERE at_us >= ? AND replica <> ? GROUP BY 1",
            (round(since * _MICROS), replica),
        )
        return dict(rows.fetchall())
