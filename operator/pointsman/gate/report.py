"""A gate's outcome as text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.gate.paired import points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pointsman.gate.paired import Judged, Word
    from pointsman.stats.gate import GateReading
    from pointsman.stats.types import Rule

_COLUMNS = ("", "cases", "incumbent", "candidate", "drop", "interval", "verdict")


def text(found: Sequence[Judged], verdict: Word, rule: Rule, cases: int) -> str:
    """Return the table and what it means."""
    margins = f"fails above a drop of {points(rule.minimum_drop)}, passes below {points(rule.tolerated_drop)}"
    lines = [f"{cases:,} cases; {margins}", ""]
    rows = [_COLUMNS, *(row for judged in found for row in _rows(judged))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    lines.append("")
    for judged in found:
        lines.append(f"{judged.rubric}: {judged.verdict}: {judged.because}.")
        if judged.overall.verdict != "fail" and judged.overall.n:
            lines.append(
                f"  These cases fail a true drop of {points(judged.overall.minimum_detectable)} or more "
                "(4 times in 5); a smaller one they may miss."
            )
        if judged.unscored:
            left = ", ".join(f"{count} {because}" for because, count in sorted(judged.unscored.items()))
            lines.append(f"  Left out: {left}.")
    lines.append(f"verdict: {verdict}")
    return "\n".join(lines)


def _rows(judged: Judged) -> Iterator[tuple[str, ...]]:
    means = f"{100 * judged.incumbent:.1f} %", f"{100 * judged.candidate:.1f} %"
    yield (judged.rubric, *_row(judged.overall, *means, judged.verdict))
    for name, reading in judged.intents.items():
        yield (f"  {name}", *_row(reading, "", "", "fail" if reading.verdict == "fail" else ""))


def _row(reading: GateReading, incumbent: str, candidate: str, verdict: str) -> tuple[str, ...]:
    low, high = 100 * reading.low, 100 * reading.high
    interval = f"[{low:+.1f}, {high:+.1f}]"
    return f"{reading.n:,}", incumbent, candidate, f"{100 * reading.drop:+.1f}", interval, verdict
