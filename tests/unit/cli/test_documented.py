"""What the documents tell users to type exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from pointsman.cli import main

REPOSITORY = Path(__file__).parents[3]
PAGES = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("examples/*/README.md")),
    *sorted(REPOSITORY.glob("docs/*.md")),
]
TYPED = re.compile(r"(?:^\$ |`)(?P<command>(?:pointsman|make) [^`#\n]+?)\s*(?:`|#|$)", re.MULTILINE)


def typed() -> list[tuple[str, str]]:
    """Return (page, command) of every command that a page shows; one over several lines is one."""
    return [
        (page.relative_to(REPOSITORY).as_posix(), found["command"])
        for page in PAGES
        for found in TYPED.finditer(page.read_text("utf-8").replace("\\\n", " "))
    ]


@pytest.mark.parametrize(("page", "command"), typed())
def test_a_command_of_a_page_exists_with_its_options(page: str, command: str) -> None:
    """Every verb and every option that a page shows is one of ours; every target is in the Makefile."""
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:.*## ", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE)
        return
    verb: click.Command = main
    rest = words[1:]
    while isinstance(verb, click.Group) and rest and not rest[0].startswith("-"):
        found = verb.get_command(click.Context(verb), rest.pop(0))
        assert found is not None, command
        verb = found
    known = {name for parameter in verb.params for name in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known


def test_the_pages_show_commands() -> None:
    """The pattern finds what it is there for."""
    shown = {command.split()[0] + " " + command.split()[1] for _, command in typed()}
    assert {"make demo", "make test", "pointsman lab", "pointsman train", "pointsman translate"} <= shown
