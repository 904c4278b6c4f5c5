"""The size of things: what is longer is two things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parents[2] / "operator" / "pointsman"
LONGEST_FUNCTION: Final = 60
LONGEST_FILE: Final = 400


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function with its number of lines; a signature of many options counts, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_and_files_are_short() -> None:
    """A function is read at a glance, a file in one go. Take out what has a name of its own."""
    long = []
    for path in sorted(SOURCES.rglob("*.py")):
        text, name = path.read_text("utf-8"), path.relative_to(SOURCES)
        long += [f"{name}: {n} lines" for n in [text.count("\n")] if n > LONGEST_FILE]
        long += [f"{name}: {found} {n} lines" for found, n in functions(text) if n > LONGEST_FUNCTION]
    assert long == []
