"""How the demo is told on a terminal, or in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pointsman.lab.demo.ended import Ended
    from pointsman.lab.demo.performance import Played as Performed
    from pointsman.lab.demo.play import Played
    from pointsman.lab.load import Outcome

_LOG_WIDTH = 150
_QUIET_S = 5.0
"""In a log, a line that changes is written again this often at most."""


class Terminal:
    """Tells it on a terminal, or in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()

    def say(self, text: str) -> None:
        """Show a line with the seconds since the begin before it."""
        seconds = time.monotonic() - self._begin
        self._console.print(f"{seconds:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def relay(self, line: str) -> None:
        """Show a line as it is."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[str], None]]:
        """Show one line that changes; in a log, a new line every few seconds if it did."""
        if not self._console.is_terminal:
            yield self._sparse()
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as shown:

            def show(text: str) -> None:
                seconds = time.monotonic() - self._begin
                shown.update(Text(f"{seconds:6.1f} s  {text}", no_wrap=True, overflow="ellipsis"))

            yield show

    def _sparse(self) -> Callable[[str], None]:
        last, told = "", 0.0

        def show(text: str) -> None:
            nonlocal last, told
            now = time.monotonic()
            if text != last and now - told >= _QUIET_S:
                last, told = text, now
                self.say(text)

        return show

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Callable[[Outcome], None]]:
        """Show a bar of `total` requests."""
        columns = (TextColumn("        "), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[tiers]}"), console=self._console) as bar:
            task = bar.add_task("", total=total, tiers="")
            counts: dict[str, int] = {}

            def on_outcome(outcome: Outcome) -> None:
                counts[outcome.tier or "failed"] = counts.get(outcome.tier or "failed", 0) + 1
                tiers = "  ".join(f"{tier} {count}" for tier, count in sorted(counts.items()))
                bar.update(task, advance=1, tiers=tiers)

            yield on_outcome


def quick_failure(played: Played) -> str | None:
    """Say why the quick demo did not come out right; None: it did."""
    result = played.result
    if result.failures:
        return f"{result.failures} requests were not answered as recorded: {'; '.join(result.failed)}"
    if not result.separated:
        return (
            f"the classifier was not better than a random split: edge {result.edge.value:+.4f}, "
            f"95 % interval {result.edge.low:+.4f} to {result.edge.high:+.4f}"
        )
    return None


def quick(console: Console, played: Played) -> None:
    """Print what the quick demo found."""
    result, decision = played.result, played.summary["decisionSeconds"]
    total = max(result.requests, 1)
    accuracy = Table("intent", box=None, header_style="bold")
    for heading in ("prompts", "to strong", "routed", "all cheap", "all strong"):
        accuracy.add_column(heading, justify="right")
    for row in result.accuracy:
        shares = (row.strong_share, row.routed, row.cheap, row.strong)
        name = row.intent or "[bold]all[/]"
        accuracy.add_row(name, f"{row.prompts:,}", *(f"{share:.1%}" for share in shares))
    facts = Table(box=None, show_header=False)
    facts.add_row("requests", f"{result.requests:,}, {result.streamed:,} of them streamed")
    facts.add_row("served by", _counts(result.by_tier, total))
    facts.add_row("because", _counts(result.by_reason, total))
    facts.add_row("cost", _cost(played))
    facts.add_row(
        "accuracy",
        f"{result.accuracy[0].routed:.2%}; a random split with the same shares {result.random_accuracy:.2%}",
    )
    value, low, high = (100 * part for part in (result.edge.value, result.edge.low, result.edge.high))
    facts.add_row(
        "edge over it", f"[bold]{value:+.2f} points[/] (95 % interval {low:+.2f} to {high:+.2f}, paired)"
    )
    facts.add_row("decision", f"p50 {_milliseconds(decision['p50'])}, p99 {_milliseconds(decision['p99'])}")
    guards = (f"{rubric} {counts.get('fail', 0)}" for rubric, counts in sorted(played.guards.items()))
    facts.add_row("guards failed", ", ".join(guards))
    facts.add_row("access log", f"{played.summary['accessLog']['lost']} entries lost")
    console.print(accuracy)
    console.print()
    console.print(facts)
    console.print(f"\n{played.seconds:.0f} s. Answers, tokens, prices are real; tiers' latency is synthetic.")


def _counts(counts: object, total: int) -> str:
    items = counts.items() if hasattr(counts, "items") else ()
    return ", ".join(f"{name or 'unknown'} {count:,} ({count / total:.1%})" for name, count in items)


def _cost(played: Played) -> str:
    result = played.result
    saved = 1 - result.cost_usd / result.strong_cost_usd
    return f"${result.cost_usd:.3f}; always strong ${result.strong_cost_usd:.3f} (saved [bold]{saved:.1%}[/])"


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.1f} ms"


def wide() -> Console:
    """Return a console for tables: a log or a file is as wide as they need."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


def performance(console: Console, played: list[Performed], seconds: float) -> None:
    """Print what became of each act."""
    table = Table(box=None, header_style="bold")
    for heading, justify in (
        ("act", "left"),
        ("policy", "left"),
        ("ended", "left"),
        ("decided by", "left"),
        ("answers", "right"),
        ("drop, points", "right"),
        ("users met it", "right"),
        ("after the write", "right"),
        ("took", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # a Literal of rich's
    for one in played:
        for ended in one.ended:
            table.add_row(str(one.act.number), ended.scene.file.removesuffix(".yaml"), *_row(ended))
    console.print(table)
    right = all(one.right for one in played)
    console.print(
        f"\n{seconds / 60:.1f} minutes. Answers, tokens, prices and verdicts are real; tiers' latency is "
        f"synthetic. {'Everything came out right.' if right else 'NOT everything came out right.'}",
        highlight=False,
    )


def _row(ended: Ended) -> tuple[str, ...]:
    verdict = ended.decisive
    decided = "", "", ""
    if verdict is not None:
        interval = f"{verdict.drop / 10:.1f} ({verdict.low / 10:.1f} … {verdict.high / 10:.1f})"
        where = f"{verdict.key.rubric} in {verdict.key.intent or 'all'}"
        decided = where, f"{verdict.candidate:,}", interval
    return (
        ended.outcome or "not",
        *decided,
        f"{ended.on_candidate:,}",
        "" if ended.lag_ms is None else f"{ended.lag_ms:.0f} ms",
        f"{ended.seconds:.0f} s",
        "[red]not right[/]" if ended.problems else "[green]right[/]",
    )
