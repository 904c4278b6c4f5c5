"""`pointsman demo`: the whole stack, real answers, five acts and a verdict."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pointsman.lab.demo.house import House
    from pointsman.lab.demo.performance import Options

_EXAMPLE = """\b
Examples:
  pointsman demo --report report.html
  pointsman demo --acts 1,3 --json > demo.json
  pointsman demo --quick
"""
_DATA = Path(__file__).resolve().parents[3] / "data" / "mmlu-pro"
_RATE, _QUICK_RATE = 100.0, 30.0


def _acts(_: click.Context, __: click.Parameter, value: str) -> frozenset[int]:
    try:
        chosen = frozenset(int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter("write numbers of acts, for instance 1,3") from None
    if not chosen <= frozenset(range(1, 6)):
        raise click.BadParameter("there are acts 1 to 5")
    return chosen


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
@click.option("--acts", default="1,2,3,4,5", show_default=True, callback=_acts, help="Which acts to play.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 500),
    help=f"Requests a second. Default {_RATE:g}, with --quick {_QUICK_RATE:g}; acts need 60.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of what is drawn and of who streams.")
@click.option(
    "--tier-speed",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Divides the replay tiers' synthetic latency.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write `lab report`'s page here."
)
@click.option("--quick", is_flag=True, help="One policy, every test prompt once, no rollout: two minutes.")
@click.option("--keep", is_flag=True, help="Leave the lab up.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    *,
    data: Path,
    state: Path | None,
    acts: frozenset[int],
    rate: float | None,
    seed: int,
    tier_speed: float,
    report: Path | None,
    quick: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Roll good and bad policies out under recorded real traffic, and see what becomes of them.

    Starts the lab, trains a classifier, and plays examples/02-rollout: a first policy and a better one prove
    themselves; one that hides its damage is refused in shadow, its like is rolled back in canary; so are two
    whose own tier breaks. Answers, token counts and verdicts are real; the tiers' latency is synthetic.
    Exit code 0 only if every act came out right.
    """
    from pointsman.lab import host
    from pointsman.lab.demo.house import House

    problem = host.problem()
    if problem is not None:
        raise click.ClickException(problem)
    house = House(data, state, tier_speed, keep)
    if quick:
        _quick(house, rate or _QUICK_RATE, seed, as_json=as_json)
        return
    from pointsman.lab.demo.performance import Options

    _perform(Options(house, acts, rate or _RATE, seed=seed, report=report), as_json=as_json)


def _perform(options: Options, *, as_json: bool) -> None:
    from rich.console import Console

    from pointsman.cli.terminal import Terminal, performance, wide
    from pointsman.clock import system_clock
    from pointsman.lab.demo.performance import as_json as plain
    from pointsman.lab.demo.performance import perform
    from pointsman.lab.process import LabError
    from pointsman.routers.dataset import DatasetError
    from pointsman.routers.linear import CollapseError

    begin = time.monotonic()
    try:
        played = perform(options, Terminal(Console(stderr=True)), system_clock)
    except (LabError, DatasetError, CollapseError) as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", ())])) from None
    seconds = time.monotonic() - begin
    if as_json:
        click.echo(json.dumps(plain(played, seconds), indent=2))
    else:
        performance(wide(), played, seconds)
    wrong = [str(one.act.number) for one in played if not one.right]
    if wrong:
        raise click.ClickException(f"not right: act {', '.join(wrong)}")


def _quick(house: House, rate: float, seed: int, *, as_json: bool) -> None:
    from rich.console import Console

    from pointsman.cli.terminal import Terminal, quick, quick_failure
    from pointsman.lab.demo import play, result
    from pointsman.lab.process import LabError
    from pointsman.routers.dataset import DatasetError
    from pointsman.routers.linear import CollapseError

    try:
        played = play.play(play.Options(house, rate, seed=seed), Terminal(Console(stderr=True)))
    except (LabError, DatasetError, CollapseError) as error:
        raise click.ClickException("\n".join([str(error), *getattr(error, "__notes__", ())])) from None
    if as_json:
        more = {"guards": played.guards, "evaluator": played.summary, "seconds": round(played.seconds, 1)}
        click.echo(json.dumps(result.as_json(played.result) | more, indent=2))
    else:
        quick(Console(), played)
    failure = quick_failure(played)
    if failure is not None:
        raise click.ClickException(failure)
