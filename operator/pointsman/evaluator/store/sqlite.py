"""SQLite: one file, one writer. What is in a batch is there after a crash, or none of it is."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.store.database import FullError, RefusedError, Row, StoreError, UnavailableError
from pointsman.evaluator.store.migrations import LATEST, MIGRATIONS, newer
from pointsman.evaluator.store.reserve import Reserve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pointsman.evaluator.store.database import Parameters

BUSY_S: Final = 2.0
"""How long a write waits for another process that holds the store (`evaluator forget`, a backup)."""
VACUUM_PAGES: Final = 1000
"""Given back at a time: the write-ahead log holds as many, and there may be no room for more."""
VACUUM_STEPS: Final = 64
"""The rest is for the next time: rows wait meanwhile."""
_LEAST_BYTES: Final = 1 << 20
_NO_ROOM: Final = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"})
_FULL: Final = "database or disk is full"


class Sqlite:
    """A connection to the file; with `alone`, the only evaluator on it."""

    def __init__(self, path: Path, *, alone: bool) -> None:
        self._reserve = Reserve(path)
        self._alone = alone
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if alone:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(f"--store {path}: another evaluator has it; give each its own file") from error
        try:
            self.connection = self._opened(path)
        except BaseException:
            os.close(self._lock)
            raise

    def _opened(self, path: Path) -> sqlite3.Connection:
        """Open the file, on a full volume with what was set aside there. `StoreError`."""
        try:
            return _open(path)
        except FullError:
            if not self._reserve.give_up():
                raise
            return _open(path)

    def close(self) -> None:
        """Close it; the write-ahead log is folded in."""
        self.connection.close()
        if self._alone:
            self._reserve.leave()
        os.close(self._lock)

    def transaction(self) -> AbstractContextManager[None]:
        """Hold the file's write lock within; not without the room that deletions need (`FullError`)."""
        if self._alone:
            try:
                self._reserve.take()
            except OSError as error:
                raise FullError(f"{_FULL} ({error.strerror})") from error
        return self.deletion()

    def make_room(self) -> bool:
        """Give up the reserve; the log goes into the file first, or a deletion's would fill the room."""
        given = self._reserve.give_up()
        with suppress(StoreError):
            self._fold()
        return given

    @contextmanager
    def deletion(self) -> Iterator[None]:
        """Hold the file's write lock within."""
        with _named_errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk has rolled back already
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one state, beside a running writer."""
        with _named_errors():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("COMMIT")

    def execute(self, statement: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run a statement."""
        return self.connection.execute(statement, parameters)

    def each(self, statement: str, rows: Iterable[Sequence[object]]) -> list[list[Row]]:
        """Run a statement once for each row."""
        return [self.connection.execute(statement, row).fetchall() for row in rows]

    def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row."""
        self.connection.executemany(statement, rows)

    def damage(self) -> list[str]:
        """Read the whole file."""
        found = [str(row[0]) for row in self.connection.execute("PRAGMA integrity_check(20)")]
        return [] if found == ["ok"] else found

    def tidy(self) -> None:
        """Take what was deleted out of the write-ahead log, and give its pages back."""
        with _named_errors():
            self._fold()
            for _ in range(VACUUM_STEPS):
                if not self._free_pages():
                    return
                self.connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
                self._fold()

    def _fold(self) -> None:
        """Take the write-ahead log into the file, and give its room back."""
        with _named_errors():
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _free_pages(self) -> int:
        (number,) = self.connection.execute("PRAGMA freelist_count").fetchone()
        return int(number)


class SqliteReader(Sqlite):
    """A connection that only reads, beside a running evaluator."""

    def __init__(self, path: Path) -> None:
        with _named_errors():
            self.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)

    def close(self) -> None:
        """Close it."""
        self.connection.close()


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") in _NO_ROOM:
            raise FullError(str(error)) from error
        raise UnavailableError(str(error)) from error
    except (sqlite3.Error, OverflowError, ValueError) as error:
        raise RefusedError(str(error)) from error


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the file, readable by its owner alone."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON").fetchone()
        migrate(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError) and _is_full(path):
            raise FullError(f"--store {path}: {error}; its volume is full: enlarge it") from error
        raise StoreError(
            f"--store {path}: {error}; move the file away or repair it with sqlite3's .recover"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _is_full(path: Path) -> bool:
    """Tell whether not even the files that SQLite keeps beside its own find room."""
    try:
        volume = os.statvfs(path.parent)
    except OSError:
        return False
    return volume.f_bavail * volume.f_frsize < _LEAST_BYTES


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version (`PRAGMA user_version`), each step in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > LATEST:
        raise newer(version)
    for migration in MIGRATIONS[version:]:
        number = migration.number
        connection.executescript(
            f"BEGIN IMMEDIATE; {migration.sqlite} PRAGMA user_version = {number}; COMMIT;"
        )
