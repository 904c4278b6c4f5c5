"""Regular expressions that users wrote: RE2, so that no text takes longer than its length allows. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import re2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Match(Protocol):
    """What is used of a match."""

    def group(self, index: int) -> str | None:
        """Return a group's text."""


class Compiled(Protocol):
    """What is used of a compiled expression (google-re2 has no types)."""

    @property
    def groups(self) -> int:
        """How many groups it has."""

    def search(self, text: str) -> Match | None:
        """Return the first match."""

    def finditer(self, text: str) -> Iterator[Match]:
        """Yield the matches, left to right, not overlapping."""


class PatternError(ValueError):
    """An expression that RE2 does not read; the message says why."""


def compiled(pattern: str) -> Compiled:
    """Compile an expression; `PatternError`."""
    options = re2.Options()
    options.log_errors = False
    try:
        return cast("Compiled", re2.compile(pattern, options))
    except re2.error as error:
        told = error.args[0] if error.args else ""
        words = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        raise PatternError(
            f"{pattern!r}: {words}; it must be a regular expression that RE2 reads: "
            "no look-around, no back-references"
        ) from None


def extracted(patterns: Iterable[Compiled], text: str) -> str | None:
    """Return the last match (its group, if it has one) of the first pattern that matches."""
    for pattern in patterns:
        matches = deque(pattern.finditer(text), maxlen=1)
        found = matches[0].group(1 if pattern.groups else 0) if matches else None
        if found is not None:
            return found
    return None


class Extraction:
    """What of an answer is looked at: by patterns, or the whole of it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """`PatternError` for what RE2 does not read, and for several groups."""
        self._patterns = tuple(compiled(pattern) for pattern in patterns)
        for written, pattern in zip(patterns, self._patterns, strict=True):
            if pattern.groups > 1:
                raise PatternError(
                    f"{written!r}: has {pattern.groups} groups; keep one, and write the others as (?:…)"
                )

    def __call__(self, text: str) -> str | None:
        """Return the part, without outer white space; None: nothing matched."""
        if not self._patterns:
            return text.strip()
        found = extracted(self._patterns, text)
        return found.strip() if found is not None else None
