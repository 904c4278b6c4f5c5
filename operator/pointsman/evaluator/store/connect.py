"""Opens a store by its address."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.evaluator.store.sqlite import Sqlite, SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.store.address import Address, Server
    from pointsman.evaluator.store.database import Database
    from pointsman.evaluator.store.postgres import Postgres


def connect(place: Address, *, alone: bool) -> Database:
    """Open or create a store, at the newest version; `StoreError`. `alone`: no other evaluator on a file."""
    if isinstance(place, Path):
        return Sqlite(place, alone=alone)
    return server(place)


def server(place: Server) -> Postgres:
    """Open a PostgreSQL database, at the newest version; `StoreError`."""
    from pointsman.evaluator.store.postgres import Postgres  # only who uses it needs the library

    return Postgres.open(place)


@contextmanager
def reading(place: Address) -> Iterator[Database]:
    """Read one state of a store, beside whoever writes; `StoreError`."""
    database: Database
    if isinstance(place, Path):
        database = SqliteReader(place)
    else:
        from pointsman.evaluator.store.postgres import Postgres

        database = Postgres(place)
    try:
        with database.snapshot():
            yield database
    finally:
        database.close()
