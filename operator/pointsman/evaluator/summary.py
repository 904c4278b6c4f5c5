"""What the store says about one policy: read-only, exact, for people and the command line."""
# ruff: noqa: S608 - statements are put together from this file's constants; values are parameters

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from pointsman.evaluator.guards import Rubric
from pointsman.evaluator.summary_scores import rollouts

if TYPE_CHECKING:
    from pathlib import Path

_SERVED: Final = "iif(served_tier <> '', served_tier, tier)"
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


def summarize(path: Path, window: Window) -> dict[str, Any]:
    """Return the summary as JSON. Blocking; opens the store read-only, beside its writer."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")  # one snapshot for all that follows
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


def _tiers(db: sqlite3.Connection, window: Window) -> list[dict[str, Any]]:
    rows = db.execute(
        f"SELECT {_SERVED} AS name, count(*) AS requests, sum(prompt_tokens) AS input,"
        f" sum(completion_tokens) AS output, sum(cost_nano) AS cost FROM requests WHERE {_WHERE}"
        " GROUP BY 1 ORDER BY 1",
        window.query,
    )
    return [
        {
            "tier": row["name"],
            "requests": row["requests"],
            "inputTokens": row["input"] or 0,
            "outputTokens": row["output"] or 0,
            "costUSD": (row["cost"] or 0) / NANO,
        }
        for row in rows
    ]


def _grouped(db: sqlite3.Connection, window: Window, column: str) -> dict[str, int]:
    rows = db.execute(
        f"SELECT {column}, count(*) FROM requests WHERE {_WHERE} GROUP BY 1 ORDER BY 1",
        window.query,
    )
    return {str(name): int(number) for name, number in rows}


def _cost(db: sqlite3.Connection, window: Window, requests: int) -> dict[str, Any]:
    priced, cost, baseline = db.execute(
        "SELECT count(cost_nano), sum(cost_nano), sum(iif(cost_nano IS NULL, NULL, baseline_nano))"
        f" FROM requests WHERE {_WHERE}",
        window.query,
    ).fetchone()
    return {
        "usd": (cost or 0) / NANO,
        "baselineUSD": (baseline or 0) / NANO,
        "baseline": BASELINE_NOTE,
        "pricedRequests": priced,
        "unpricedRequests": requests - priced,
    }


def _guards(db: sqlite3.Connection, window: Window) -> list[dict[str, Any]]:
    """Count as `guards.outcomes` does: by the tier that answered, and a failed attempt of the other."""
    results: list[dict[str, Any]] = []
    for rubric in Rubric:
        rows = db.execute(
            f"SELECT {_SERVED} AS tier, count(*), sum(instr(',' || failed || ',', :rubric) > 0)"
            f" FROM requests WHERE {_WHERE} GROUP BY 1",
            window.query | {"rubric": f",{rubric},"},
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


def _quantiles(db: sqlite3.Connection, window: Window, column: str) -> dict[str, Any]:
    """Return exact quantiles by nearest rank."""
    number = _one(db, window, f"count({column})")
    found: dict[str, Any] = {"count": number, "p50": None, "p99": None}
    if number:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            (value,) = db.execute(
                f"SELECT {column} FROM requests WHERE {_WHERE} AND {column} IS NOT NULL ORDER BY 1"
                " LIMIT 1 OFFSET :rank",
                window.query | {"rank": ceil(share * number) - 1},
            ).fetchone()
            found[name] = value / 1_000_000
    return found


def _captures(db: sqlite3.Connection, window: Window, requests: int) -> dict[str, Any]:
    """Return the texts that are stored now, and the share of requests of which both halves are."""
    halves = dict(
        db.execute(
            "SELECT half, count(*) FROM captures"
            " WHERE policy = :policy AND at_us >= :since AND at_us < :until GROUP BY 1",
            window.query,
        ).fetchall()
    )
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
        "sampled": _one(db, window, "coalesce(sum(captured), 0)"),
        "coveragePermille": _permille(whole, requests),
    }


def _access_log(db: sqlite3.Connection) -> dict[str, Any]:
    """Return the counts of all Envoys: they do not know of policies."""
    nodes = [
        dict(row) for row in db.execute("SELECT node, received, finished + base AS finished, lost FROM nodes")
    ]
    return {
        "received": sum(node["received"] for node in nodes),
        "lost": sum(node["lost"] for node in nodes),
        "nodes": sorted(nodes, key=lambda node: str(node["node"])),
    }


def _one(db: sqlite3.Connection, window: Window, what: str, more: str = "") -> int:
    (value,) = db.execute(f"SELECT {what} FROM requests WHERE {_WHERE}{more}", window.query).fetchone()
    return int(value)


def _permille(part: int, whole: int) -> int | None:
    return round(1000 * part / whole) if whole else None
