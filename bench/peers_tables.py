"""The figures of `peers` and `revert` as the tables of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def at_rest(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each tool and number of objects; what runs beside a tool's controller is summed up."""
    rows = []
    for name, found in results.items():
        asked = found["requests_at_rest_per_object_and_hour"]
        parts = [part for part in found["resident_mb"] if part != "envoy"]
        rows.append(
            (
                name,
                f"{found['ready_s']:.0f} s",
                " + ".join(f"{found['resident_mb'][part]:.0f}" for part in parts) + " MB",
                f"{sum(found['resident_kb_per_object'][part] for part in parts):.0f} kB",
                ", ".join(f"{verb} {number:.1f}" for verb, number in asked.items()) or "none",
                f"{found['writes_at_rest']}",
                f"{sum(found['cores_at_rest'][part] for part in parts):.3f}",
                f"{found['apiserver_cores_at_rest']:.3f}",
            )
        )
    head = (
        *("", "all ready after", "resident", "per object", "requests per object and hour at rest"),
        *("writes at rest", "cores at rest", "of the API server"),
    )
    return _table(head, rows)


def reverted(live: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each tool and case of broken candidates, then one for each of identical arms."""
    rows = []
    for name, found in live.items():
        for case in found["cases"]:
            what = f"{case['good']:.0%} → {case['bad']:.0%}, {case['window_s']} s"
            if "watched_s" in case:
                wrong = f"{case['false_alarms']} of {case['tried']} in {case['watched_s']:.0f} s"
                rows.append((name, what, "", "", wrong))
                continue
            wrong = f"{case['false_alarms']} of {case['tried']} before it broke"
            wrong += f"; {case['never']} never" if case["never"] else ""
            rows.append((name, what, _delays(case.get("reverted")), _delays(case.get("acknowledged")), wrong))
    return _table(("", "case", "reverted: p50, max", "Envoy has it: p50, max", "reverted wrongly"), rows)


def computed(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a row for each tool and window of the simulation."""
    head = (
        *("", "checks", "over", "wrong within ten minutes", "within an hour"),
        *("both at 89 %", "94 → 79 %: p50", "94 → 50 %: p50", "79 % from the start", "50 % from the start"),
    )
    return _table(
        head,
        [
            (
                row["tool"],
                f"every {row['interval_s']} s",
                f"{row['window_s']} s",
                f"{row['ten_minutes']:.1%}",
                f"{row['hour']:.1%}",
                f"{row['hour_lower']:.1%}",
                f"{row['to_0.79']['p50_s']:.0f} s",
                f"{row['to_0.5']['p50_s']:.0f} s",
                f"{row['from_start_0.79']['p50_s']:.0f} s",
                f"{row['from_start_0.5']['p50_s']:.0f} s",
            )
            for row in rows
        ],
    )


def _delays(figures: Mapping[str, Any] | None) -> str:
    return f"{figures['p50_s']:.1f} s, {figures['max_s']:.1f} s" if figures else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
