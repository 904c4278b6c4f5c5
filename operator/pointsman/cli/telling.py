"""How commands that take a while speak: progress with the seconds gone by, one line for an error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.table import Table


def fail(error: Exception) -> NoReturn:
    """Print an error that tells its remedy, and end with exit code 1."""
    click.echo(f"Error: {error}", err=True)
    sys.exit(1)


def timed(*, err: bool = False) -> Callable[[str], None]:
    """Return a function that prints a line with the seconds since now before it."""
    begin = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - begin:6.1f} s  {text}", err=err)

    return say


def parts_table(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the servers of a lab or cluster, from its status, as a table."""
    from rich.table import Table

    table = Table("part", "pid", "address", "healthy", "restarts", box=None)
    for name, part in parts.items():
        healthy = "yes" if part["healthy"] else "[bold red]no[/]"
        table.add_row(name, str(part["pid"] or "-"), part["address"], healthy, str(part["restarts"]))
    return table
