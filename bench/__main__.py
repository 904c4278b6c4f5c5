"""`make bench`: measure and print; docs/benchmarks.md keeps the figures with the command that gave them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from bench import cpu, decision, fleet, peers, peers_revert, scale, switch

Bench = Callable[..., Coroutine[Any, Any, dict[str, Any]]]

ALL: dict[str, Bench] = {
    "cpu": cpu.measure,
    "switch": switch.measure,
    "fleet": fleet.measure,
    "decision": decision.measure,
    "scale": scale.measure,
}
PEERS: dict[str, Bench] = {"peers": peers.measure, "revert": peers_revert.measure}
"""Only by name: they build Flagger and Argo Rollouts, and take more than an hour."""
OPTIONS = {"scale": ("policies", "rest_s")}
"""Which of the options each bench takes."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(ALL | PEERS)))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures there.")
@click.option("--policies", default=scale.POLICIES, show_default=True, help="scale: how many.")
@click.option("--rest", "rest_s", default=scale.REST_S, show_default=True, help="scale: seconds at rest.")
def main(names: tuple[str, ...], json_path: Path | None, **options: float) -> None:
    """Run the named benches, or all.

    cpu: CPU per request; switch: weight change; fleet: 200 policies; decision: the rule on simulated arms;
    scale: thousands of policies. Only by name: peers (Flagger and Argo Rollouts at rest beside us),
    revert (from bad counts to traffic reverted, all three).
    """
    results: dict[str, Any] = {}
    for name in names or tuple(ALL):
        click.echo(f"== {name}")
        results[name] = asyncio.run((ALL | PEERS)[name](click.echo, **_for(name, options)))
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _for(name: str, options: dict[str, float]) -> dict[str, float]:
    return {option: value for option, value in options.items() if option in OPTIONS.get(name, ())}


main()
