"""What the store says about one policy: read-only, exact, for people and the command line."""
# ruff: noqa: S608 - statements are put together from this file's constants; values are parameters

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from pointsman.evaluator.guards import Rubric
from pointsman.evaluator.store.connect import reading
from pointsman.evaluator.summary_scores import rollouts

if TYPE_CHECKING:
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.store.database import Database

_SERVED: Final = "CASE WHEN served_tier <> '' THEN served_tier ELSE tier END"
_WHERE: Final = "policy = :policy AND start_us >= :since AND start_us < :until"
BASELINE_NOTE: Final = "estimate: the same tokens at the last tier's price"
NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Which requests: by policy, and when they arrived (microseconds of Unix time)."""

    policy: str
    since_us: int = 0
    until_us: int = 1 << 62

    @property
    def query(self) -> dict[str, str | int]:
        """Return the SQL parameters."""
        return {"policy": self.policy, "since": self.since_us, "until": self.until_us}


def summarize(store: Address, window: Window) -> dict[str, Any]:
    """Return the summary as JSON. Blocking; reads one state of the store, beside its writer. `StoreError`."""
    with reading(store) as db:
        tiers = _tiers(db, window)
        requests = sum(tier["requests"] for tier in tiers)
        return {
            "policy": window.policy,
            "requests": requests,
            "sessions": _one(db, window, "count(DISTINCT nullif(session, ''))"),
            "tiers": [tier | {"sharePermille": _permille(tier["requests"], requests)} for tier in tiers],
            "revisions": _grouped(db, window, "revision"),
            "reasons": _grouped(db, window, "reason"),
            "cost": _cost(db, window, requests),
            "guards": _guards(db, window),
            "decisionSeconds": _quantiles(db, window, "decision_us"),
            "timeToFirstTokenSeconds": _quantiles(db, window, "ttft_us"),
            "durationSeconds": _quantiles(db, window, "duration_us"),
            "captures": _captures(db, window, requests),
            "rollouts": rollouts(db, window.query),
            "accessLog": _access_log(db),
        }


def _tiers(db: Database, window: Window) -> list[dict[str, Any]]:
    rows = db.execute(
        f"SELECT {_SERVED} AS name, count(*) AS requests, sum(prompt_tokens) AS input,"
        f" sum(completion_tokens) AS output, sum(cost_nano) AS cost FROM requests WHERE {_WHERE}"
        " GROUP BY 1 ORDER BY 1",
        window.query,
    )
    return [
        {
            "tier": name,
            "requests": requests,
            "inputTokens": sent or 0,
            "outputTokens": received or 0,
            "costUSD": (cost or 0) / NANO,
        }
        for name, requests, sent, received, cost in rows
    ]


def _grouped(db: Database, window: Window, column: str) -> dict[str, int]:
    rows = db.execute(
        f"SELECT {column}, count(*) FROM requests WHERE {_WHERE} GROUP BY 1 ORDER BY 1",
        window.query,
    )
    return {str(name): int(number) for name, number in rows}


def _cost(db: Database, window: Window, requests: int) -> dict[str, Any]:
    ((priced, cost, baseline),) = db.execute(
        "SELECT count(cost_nano), sum(cost_nano), sum(CASE WHEN cost_nano IS NOT NULL THEN baseline_nano END)"
        f" FROM requests WHERE {_WHERE}",
        window.query,
    )
    return {
        "usd": (cost or 0) / NANO,
        "baselineUSD": (baseline or 0) / NANO,
        "baseline": BASELINE_NOTE,
        "pricedRequests": priced,
        "unpricedRequests": requests - priced,
    }


def _guards(db: Database, window: Window) -> list[dict[str, Any]]:
    """Count as `guards.outcomes` does: by the tier that answered, and a failed attempt of the other."""
    results: list[dict[str, Any]] = []
    for rubric in Rubric:
        rows = db.execute(
            f"SELECT {_SERVED} AS tier, count(*),"
            " sum(CASE WHEN ',' || failed || ',' LIKE :rubric THEN 1 ELSE 0 END)"
            f" FROM requests WHERE {_WHERE} GROUP BY 1",
            window.query | {"rubric": f"%,{rubric},%"},
        )
        counts = {tier: [number - failed, failed] for tier, number, failed in rows}
        if rubric is Rubric.ANSWERED:
            passed_over = db.execute(
                f"SELECT tier, count(*) FROM requests WHERE {_WHERE}"
                " AND tier <> '' AND served_tier <> '' AND tier <> served_tier GROUP BY 1",
                window.query,
            )
            for tier, number in passed_over:
                counts.setdefault(tier, [0, 0])[1] += number
        for tier, (passed, failed) in sorted(counts.items()):
            results.append({"rubric": rubric.value, "tier": tier, "pass": passed, "fail": failed})
    return results


def _quantiles(db: Database, window: Window, column: str) -> dict[str, Any]:
    """Return exact quantiles by nearest rank."""
    number = _one(db, window, f"count({column})")
    found: dict[str, Any] = {"count": number, "p50": None, "p99": None}
    if number:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            ((value,),) = db.execute(
                f"SELECT {column} FROM requests WHERE {_WHERE} AND {column} IS NOT NULL ORDER BY 1"
                " LIMIT 1 OFFSET :rank",
                window.query | {"rank": ceil(share * number) - 1},
            )
            found[name] = value / 1_000_000
    return found


def _captures(db: Database, window: Window, requests: int) -> dict[str, Any]:
    """Return the texts that are stored now, and the share of requests of which both halves are."""
    rows = db.execute(
        "SELECT half, count(*) FROM captures"
        " WHERE policy = :policy AND at_us >= :since AND at_us < :until GROUP BY 1",
        window.query,
    )
    halves: dict[str, int] = dict(rows.fetchall())
    whole = _one(
        db,
        window,
        "count(*)",
        " AND (SELECT count(*) FROM captures c WHERE c.policy = requests.policy"
        " AND c.request_id = requests.request_id) = 2",
    )
    return {
        "requests": halves.get("request", 0),
        "responses": halves.get("response", 0),
        "both": whole,
        "sampled": _one(db, window, "coalesce(sum(CASE WHEN captured THEN 1 ELSE 0 END), 0)"),
        "coveragePermille": _permille(whole, requests),
    }


def _access_log(db: Database) -> dict[str, Any]:
    """Return the counts of all Envoys: they do not know of policies."""
    rows = db.execute("SELECT node, received, finished + base, lost FROM nodes")
    nodes = [dict(zip(("node", "received", "finished", "lost"), row, strict=True)) for row in rows]
    return {
        "received": sum(node["received"] for node in nodes),
        "lost": sum(node["lost"] for node in nodes),
        "nodes": sorted(nodes, key=lambda node: str(node["node"])),
    }


def _one(db: Database, window: Window, what: str, more: str = "") -> int:
    ((value,),) = db.execute(f"SELECT {what} FROM requests WHERE {_WHERE}{more}", window.query)
    return int(value)


def _permille(part: int, whole: int) -> int | None:
    return round(1000 * part / whole) if whole else None
