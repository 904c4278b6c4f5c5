"""How commands that take a while speak: progress with the seconds gone by, one line for an error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NoReturn

import click


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
