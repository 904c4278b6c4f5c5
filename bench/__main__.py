"""`make bench`: measure and print; docs/benchmarks.md keeps the figures with the command that gave them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from bench import cpu, decision, fleet, switch

ALL: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "cpu": cpu.measure,
    "switch": switch.measure,
    "fleet": fleet.measure,
    "decision": decision.measure,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(ALL)))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures there.")
def main(names: tuple[str, ...], json_path: Path | None) -> None:
    """Run the named benches, or all.

    cpu: CPU per request; switch: weight change; fleet: 200 policies; decision: the rule on simulated arms.
    """
    results: dict[str, Any] = {}
    for name in names or tuple(ALL):
        click.echo(f"== {name}")
        results[name] = asyncio.run(ALL[name](click.echo))
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


main()
