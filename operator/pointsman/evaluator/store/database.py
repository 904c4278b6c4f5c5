"""What the store asks of a database, and how each way to fail is called.

Statements are written once, in the SQL that SQLite and PostgreSQL share; placeholders are `?` or `:name`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = "Sequence[object] | Mapping[str, object]"


class StoreError(Exception):
    """The store cannot be used; the text says why and what to do."""


class UnavailableError(StoreError):
    """The store does not take anything now: locked, full, restarting, away. The same may succeed later."""


class FullError(UnavailableError):
    """There is no room where the store lies."""


class RefusedError(StoreError):
    """The store cannot take these rows, now or later."""


class FencedError(StoreError):
    """This replica's counts were taken over by another, for it was not heard of: it must join anew."""


class TakenError(StoreError):
    """Another run has taken this replica's name: there is nothing left to do but to end."""


class Rows(Protocol):
    """The rows of one statement."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""

    def fetchone(self) -> Row | None:
        """Return the next row."""

    def fetchall(self) -> list[Row]:
        """Return all rows."""

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows."""


class Database(Protocol):
    """One connection. Errors of `transaction` and `snapshot` are those above."""

    def transaction(self) -> AbstractContextManager[None]:
        """Write all that is written within, or nothing; nobody else writes meanwhile."""

    def deletion(self) -> AbstractContextManager[None]:
        """Do the same, to let go of rows: also where there is no room for more of them."""

    def snapshot(self) -> AbstractContextManager[None]:
        """See one state of the whole store within."""

    def execute(self, statement: str, parameters: Parameters = ()) -> Rows:
        """Run a statement."""

    def each(self, statement: str, rows: Iterable[Sequence[object]]) -> list[list[Row]]:
        """Run a statement once for each row, in order; return what each returned. One trip to a server."""

    def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement that returns nothing once for each row."""

    def make_room(self) -> bool:
        """Give up what was set aside for deletions on a full volume; False: there is nothing."""

    def damage(self) -> list[str]:
        """Return what is wrong with the files, as far as the database can tell."""

    def tidy(self) -> None:
        """Let nothing of what was deleted lie about, as far as that can be had at once."""

    def close(self) -> None:
        """Close it."""
