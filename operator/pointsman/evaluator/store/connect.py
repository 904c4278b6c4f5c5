"""Opens a store by its address."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.store.database import UnavailableError
from pointsman.evaluator.store.sqlite import Sqlite, SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.store.database import Database


READERS: Final = 2
"""Connections for reading at a time, beside one for writing and one for the heartbeat."""
READERS_WAIT_S: Final = 20.0
_READERS: Final = threading.BoundedSemaphore(READERS)


def connect(place: Address, *, alone: bool) -> Database:
    """Open or create a store, at the newest version; `StoreError`. `alone`: no other evaluator on a file."""
    if isinstance(place, Path):
        return Sqlite(place, alone=alone)
    from pointsman.evaluator.store.postgres import Postgres  # only who uses it needs the library

    return Postgres.open(place)


@contextmanager
def reading(place: Address) -> Iterator[Database]:
    """Read one state of a store, beside whoever writes; `StoreError`."""
    if isinstance(place, Path):
        with closing(SqliteReader(place)) as file, file.snapshot():
            yield file
        return
    from pointsman.evaluator.store.postgres import Postgres

    if not _READERS.acquire(timeout=READERS_WAIT_S):
        raise UnavailableError(f"{READERS} others read it")
    try:
        with closing(Postgres(place)) as database, database.snapshot():
            yield database
    finally:
        _READERS.release()
