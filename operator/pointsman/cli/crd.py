"""`pointsman crd`: CustomResourceDefinitions and the API reference, written from the models."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click


@click.group()
def command() -> None:
    """Write what is generated from the API's models, or check that it is fresh.

    Example: pointsman crd generate --out crds/ && kubectl apply -f crds/
    """


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("crds"),
    show_default=True,
    help="Folder of the YAML files.",
)
@click.option("--check", is_flag=True, help="Write nothing; print what differs and exit 1 if anything does.")
def generate(*, out: Path, check: bool) -> None:
    """Write the CustomResourceDefinitions.

    Example: pointsman crd generate --check
    """
    from pointsman.api import crd

    _write(
        {out / name: text for name, text in crd.files().items()}, check=check, again="pointsman crd generate"
    )
    known = set(crd.files())
    orphans = sorted(p for p in out.glob("*.yaml") if p.name not in known)
    for orphan in orphans:
        click.echo(f"{orphan}: belongs to no kind; delete it", err=True)
    if orphans and check:
        sys.exit(1)


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("docs/reference/api.md"),
    show_default=True,
    help="The Markdown file.",
)
@click.option("--check", is_flag=True, help="Write nothing; print what differs and exit 1 if anything does.")
def docs(*, out: Path, check: bool) -> None:
    """Write the API reference.

    Example: pointsman crd docs --out docs/reference/api.md
    """
    from pointsman.api.reference import reference

    _write({out: reference()}, check=check, again="pointsman crd docs")


def _write(wanted: dict[Path, str], *, check: bool, again: str) -> None:
    """Write the files, or print their differences and exit 1 if there are any."""
    stale = False
    for path, text in wanted.items():
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if current == text:
            continue
        stale = True
        if check:
            lines = (current.splitlines(keepends=True), text.splitlines(keepends=True))
            click.echo("".join(difflib.unified_diff(*lines, str(path), f"{path} (generated)")), nl=False)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            click.echo(f"wrote {path}")
    if check and stale:
        click.echo(f"stale: run `{again}`", err=True)
        sys.exit(1)
