"""`pointsman train`: from recorded outcomes to a classifier bundle."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pointsman.routers.metrics import Edge
    from pointsman.routers.train import Trained

_EXAMPLE = """\b
Example:
  pointsman train --data data/mmlu-pro --cheap gemini-1.5-flash-002 \\
    --strong gemini-1.5-pro-002 --out bundle.zip
"""


@click.command(name="train", epilog=_EXAMPLE)
@click.option("--router", default="linear", show_default=True, help="Kind of router: linear.")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with prompts.parquet and outcomes.parquet.",
)
@click.option("--dataset", help="Which of the folder's datasets, where several have these models.")
@click.option(
    "--cheap", required=True, multiple=True, metavar="MODEL", help="The cheap model; repeat for more tiers."
)
@click.option("--strong", required=True, metavar="MODEL", help="The strong model: the last tier.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Bundle to write.",
)
@click.option(
    "--strong-share",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of requests for the strong model that the suggested threshold aims at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    *,
    router: str,
    data: Path,
    dataset: str | None,
    cheap: tuple[str, ...],
    strong: str,
    out: Path,
    strong_share: float,
    as_json: bool,
) -> None:
    """Train a classifier that predicts where the strong model is worth its price.

    Fits on folds 0-5, calibrates and chooses the threshold on fold 6, and reports on folds 7-9, which
    nothing else sees. Exit code 0: better than a random split of the same shares (95 % interval above 0).
    1: not shown to be better (the bundle is written all the same), or nothing learned. 2: bad input.
    """
    from rich.console import Console

    from pointsman.routers import dataset as datasets
    from pointsman.routers.linear import CollapseError
    from pointsman.routers.train import ROUTERS, train

    if router not in ROUTERS:
        raise click.BadParameter(f"{router!r} is not one of: {', '.join(ROUTERS)}", param_hint="--router")
    notes = Console(stderr=True)
    try:
        with notes.status("reading") as status:
            problem = datasets.load(data, [*cheap, strong], dataset)
            trained = train(problem, router=router, strong_share=strong_share, progress=status.update)
    except datasets.DatasetError as error:
        raise click.UsageError(str(error)) from None
    except CollapseError as error:
        raise click.ClickException(str(error)) from None
    out.write_bytes(trained.data)
    if as_json:
        click.echo(json.dumps(_summary(trained, out), indent=2))
    else:
        _print(Console(), trained, out)
    if trained.report.edge.low <= 0:
        notes.print("Not shown to be better than a random split: the interval of the edge reaches 0.")
        sys.exit(1)


def _summary(trained: Trained, out: Path) -> dict[str, object]:
    return {
        "file": str(out),
        "sha256": trained.sha256,
        "bytes": len(trained.data),
        "report": trained.report.as_json(),
    }


def _print(console: Console, trained: Trained, out: Path) -> None:
    """Print the report for people."""
    from rich.table import Table

    report = trained.report
    table = Table(title=f"{report.dataset}: {report.prompts['test']:,} test prompts", title_justify="left")
    for heading in ("", "accuracy", "strong share", "USD per 1,000"):
        table.add_column(heading, justify="right" if heading else "left")
    for at, tier in enumerate(report.tiers):
        share = 1.0 if at == len(report.tiers) - 1 else 0.0
        table.add_row(f"all to {tier}", *_row(report.accuracy[at], share, report.cost_per_1000[at]))
    strong = report.shares[-1]
    table.add_row("same shares at random", *_row(report.random_accuracy, strong, None))
    table.add_row("[bold]router", *_row(report.router_accuracy, strong, report.router_cost_per_1000))
    table.add_row("oracle", *_row(report.oracle_accuracy, None, None))
    console.print(table)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    say(f"Edge over random: {_edge(report.edge)} (95 % interval, by groups of like questions)")
    for name, edge in report.baselines.items():
        say(f"  for comparison, {name}: {_edge(edge)}")
    say(f"Intents: {report.intent_accuracy:.1%} right, of {len(trained.bundle.intents)} kinds")
    errors = zip(report.calibration_error_before, report.calibration_error, strict=True)
    say(f"Calibration error: {', '.join(f'{before:.3f} -> {after:.3f}' for before, after in errors)}")
    say(
        f"Suggested threshold: minScorePermille {report.threshold_permille}, chosen on the calibration fold "
        f"for a strong share of {report.wanted_strong_share:.0%}"
    )
    say(f"{out}: {len(trained.data):,} bytes, sha256 {trained.sha256}")


def _row(accuracy: float, share: float | None, cost: float | None) -> tuple[str, str, str]:
    return (
        f"{accuracy:.1%}",
        "" if share is None else f"{share:.1%}",
        "" if cost is None or math.isnan(cost) else f"{cost:.3f}",
    )


def _edge(edge: Edge) -> str:
    return f"{edge.value * 100:+.2f} points [{edge.low * 100:+.2f}, {edge.high * 100:+.2f}]"
