"""`pointsman demo`: the whole stack, real prompts, a table and a verdict."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pointsman.lab.demo.play import Played
    from pointsman.lab.load import Outcome

_EXAMPLE = """\b
Example:
  pointsman demo --json > demo.json
"""
_DATA = Path(__file__).resolve().parents[3] / "data" / "mmlu-pro"


@click.command(name="demo", epilog=_EXAMPLE)
@click.option(
    "--data",
    default=_DATA,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Recorded outcomes. Default: data/mmlu-pro of the repository.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The lab's folder. Default: a temporary one.",
)
@click.option(
    "--rate", default=30.0, show_default=True, type=click.FloatRange(1, 500), help="Requests a second."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the order and of who streams.")
@click.option(
    "--tier-speed",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Divides the replay tiers' synthetic latency.",
)
@click.option("--keep", is_flag=True, help="Leave the lab up.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    *, data: Path, state: Path | None, rate: float, seed: int, tier_speed: float, keep: bool, as_json: bool
) -> None:
    """Route recorded real traffic through the lab and say what it saved.

    Starts the lab, trains a classifier on the training split, applies examples/01-quickstart, sends every
    prompt of the test split once, and ends the lab. The answers, their token counts and their verdicts are
    real; the tiers' latency is synthetic. Exit code 0 only if every request was answered as recorded and the
    classifier was better than a random split with the same strong share (95 % interval above 0).
    """
    from rich.console import Console

    from pointsman.lab import host

    problem = host.problem()
    if problem is not None:
        raise click.ClickException(problem)
    from pointsman.lab.demo import play, result
    from pointsman.lab.process import LabError
    from pointsman.routers.dataset import DatasetError
    from pointsman.routers.linear import CollapseError

    audience = _Terminal(Console(stderr=True))
    options = play.Options(data, state, rate=rate, seed=seed, tier_speed=tier_speed, keep=keep)
    try:
        played = play.play(options, audience)
    except (LabError, DatasetError, CollapseError) as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", ())])) from None
    if as_json:
        more = {"guards": played.guards, "evaluator": played.summary, "seconds": round(played.seconds, 1)}
        click.echo(json.dumps(result.as_json(played.result) | more, indent=2))
    else:
        _print(Console(), played)
    failure = _failure(played)
    if failure is not None:
        raise click.ClickException(failure)


class _Terminal:
    """Tells it on a terminal, or in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()

    def say(self, text: str) -> None:
        seconds = time.monotonic() - self._begin
        self._console.print(f"{seconds:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)

    def relay(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[Callable[[Outcome], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("        "), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[tiers]}"), console=self._console) as bar:
            task = bar.add_task("", total=total, tiers="")
            counts: dict[str, int] = {}

            def on_outcome(outcome: Outcome) -> None:
                counts[outcome.tier or "failed"] = counts.get(outcome.tier or "failed", 0) + 1
                tiers = "  ".join(f"{tier} {count}" for tier, count in sorted(counts.items()))
                bar.update(task, advance=1, tiers=tiers)

            yield on_outcome


def _failure(played: Played) -> str | None:
    result = played.result
    if result.failures:
        return f"{result.failures} requests were not answered as recorded: {'; '.join(result.failed)}"
    if not result.separated:
        return (
            f"the classifier was not better than a random split: edge {result.edge.value:+.4f}, "
            f"95 % interval {result.edge.low:+.4f} to {result.edge.high:+.4f}"
        )
    return None


def _print(console: Console, played: Played) -> None:
    from rich.table import Table

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
