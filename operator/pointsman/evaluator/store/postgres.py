"""PostgreSQL: several evaluators on one database, one writing at a time.

Whoever writes holds one advisory lock of the database to the end of its transaction. So all that is true of
SQLite's single writer is true here: no lost update, no deadlock, nothing between two statements. Locks are of
transactions, time-outs are set within them, and no statement is prepared where a pooler like PgBouncer stands
between: each transaction may get another of its connections.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from psycopg.adapt import Loader

from pointsman.evaluator.store.database import FullError, RefusedError, Row, StoreError, UnavailableError
from pointsman.evaluator.store.migrations import LATEST, MIGRATIONS, newer
from pointsman.evaluator.store.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from psycopg.abc import Buffer

    from pointsman.evaluator.store.address import Server
    from pointsman.evaluator.store.database import Parameters, Rows

log = logging.getLogger(__name__)

CONNECT_S: Final = 5
START_S: Final = 30.0
"""How long a start waits for a database that does not answer yet."""
STATEMENT_MS: Final = 30_000
LOCK_MS: Final = 10_000
"""How long a write waits for the other evaluators' writes."""
IDLE_MS: Final = 10_000
"""A transaction whose evaluator has gone silent ends after this: it must not hold up the others."""
MIGRATE_MS: Final = 600_000
DEADLINE_S: Final = 45.0
"""Of a whole transaction, by our own clock: for a server that says nothing, not even that it is late."""
BEAT_S: Final = 8.0
"""Of a heartbeat: several must fit into a lease."""

_NEVER: Final = {
    "statement pooling mode": "set pool_mode of the pooler to transaction, or session",
    "unsupported startup parameter": (
        "take it out of --store and set it of the role (ALTER ROLE … SET search_path = …); in the pooler's"
        " ignore_startup_parameters it would be forgotten"
    ),
}
"""What PgBouncer says where it can never work, and what does."""

_LIMITS: Final = (
    f"SET LOCAL statement_timeout = {STATEMENT_MS}; SET LOCAL lock_timeout = {LOCK_MS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS};"
)
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('pointsman/{}/' || current_schema(), 0));"
_WRITE: Final = f"BEGIN; {_LIMITS} {_LOCK.format('write')}"
_BEAT: Final = f"BEGIN; {_LIMITS}"
_READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LIMITS}"
_MIGRATE: Final = (
    f"BEGIN; SET LOCAL statement_timeout = {MIGRATE_MS}; SET LOCAL lock_timeout = {MIGRATE_MS};"
    f" {_LOCK.format('migrate')} {_LOCK.format('write')}"
    " CREATE TABLE IF NOT EXISTS pointsman_schema"
    " (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())"
)


class _Whole(Loader):
    """Sums of whole numbers, which PostgreSQL calls numeric."""

    def load(self, data: Buffer) -> int:
        """Return the number."""
        return int(bytes(data))


class Postgres:
    """One connection, made when it is needed and again after it broke."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: psycopg.Connection[Row] | None = None
        self._watch = Watch()

    @classmethod
    def open(cls, server: Server) -> Self:
        """Connect, wait for a database that is starting, and bring it to the newest version; `StoreError`."""
        database = cls(server)
        end = time.monotonic() + START_S
        while True:
            try:
                migrate(database)
            except UnavailableError as error:
                database.close()
                if time.monotonic() > end:
                    raise StoreError(f"--store {server}: {error}") from error
                log.warning("waiting for the store: %s", error)
                time.sleep(1)
            except BaseException:
                database.close()
                raise
            else:
                return database

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def transaction(self) -> Any:
        """Hold the one lock of all writers within."""
        return self._within(_WRITE)

    def deletion(self) -> Any:
        """Hold it, to let go of rows."""
        return self._within(_WRITE)

    def make_room(self) -> bool:
        """Return False: its volume is not ours."""
        return False

    def snapshot(self) -> Any:
        """See one state within, whatever is written meanwhile."""
        return self._within(_READ)

    def beating(self) -> Any:
        """Write within without waiting for other writers."""
        return self._within(_BEAT, BEAT_S)

    def migration(self) -> Any:
        """Be the only one that changes tables within."""
        return self._within(_MIGRATE, MIGRATE_MS / 1000)

    @contextmanager
    def _within(self, begin: str, deadline_s: float | None = None) -> Iterator[None]:
        try:
            connection = self._connected()
            with self._watch.within(connection, DEADLINE_S if deadline_s is None else deadline_s):
                connection.execute(begin, prepare=False)
                yield
                connection.execute("COMMIT", prepare=False)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                self.close()  # a standby, perhaps one that has just become it: who leads is found anew
            named = _named(error)
            if named is None:
                raise
            raise named from error

    def _roll_back(self) -> None:
        """End the transaction; where that cannot be known to work, the connection with it."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            self.close()
        if self._connection is not None and self._connection.closed:
            self.close()

    def execute(self, statement: str, parameters: Parameters = ()) -> Rows:
        """Run a statement."""
        return cast("Rows", self._connected().execute(_translated(statement), _plain(parameters)))

    def each(self, statement: str, rows: Iterable[Sequence[object]]) -> list[list[Row]]:
        """Run a statement once for each row, all in one trip."""
        wanted = [_plain(row) for row in rows]
        if not wanted:
            return []
        with self._connected().cursor() as cursor:
            cursor.executemany(_translated(statement), wanted, returning=True)
            return [each.fetchall() for each in cursor.results()]

    def many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row, all in one trip."""
        wanted = [_plain(row) for row in rows]
        if wanted:
            with self._connected().cursor() as cursor:
                cursor.executemany(_translated(statement), wanted)

    def script(self, text: str) -> None:
        """Run several statements."""
        self._connected().execute(text)

    def damage(self) -> list[str]:
        """Return nothing: PostgreSQL has tools of its own for that (amcheck)."""
        return []

    def tidy(self) -> None:
        """Do nothing: autovacuum does it, when it does."""

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._server.url,
                password=self._server.password(),
                autocommit=True,
                prepare_threshold=5,
                connect_timeout=CONNECT_S,
                keepalives_idle=5,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=15_000,
                fallback_application_name="pointsman-evaluator",
            )
            self._connection.adapters.register_loader("numeric", _Whole)
            with self._watch.within(self._connection, CONNECT_S):
                if _pooled(self._connection):
                    self._connection.prepare_threshold = None
        return self._connection


def _pooled(connection: psycopg.Connection[Row]) -> bool:
    """Tell whether a pooler stands between: it names another process to us than the one that serves us."""
    (serving,) = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone() or (0,)
    return bool(serving != connection.info.backend_pid)


def migrate(database: Postgres) -> None:
    """Bring the database to the newest version, all steps in one transaction, whoever else starts now."""
    with database.snapshot():
        version = _version(database)
    if version > LATEST:
        raise newer(version)
    if version == LATEST:
        return
    with database.migration():
        version = _version(database)  # another may have done it while we waited for the lock
        for step in MIGRATIONS[version:]:
            database.script(step.postgres)
            database.execute("INSERT INTO pointsman_schema (version) VALUES (?)", (step.number,))
            log.info("store migrated", extra={"version": step.number})


def _version(database: Postgres) -> int:
    (known,) = database.execute("SELECT to_regclass('pointsman_schema') IS NOT NULL").fetchone() or (False,)
    if not known:
        return 0
    (version,) = database.execute("SELECT coalesce(max(version), 0) FROM pointsman_schema").fetchone() or (0,)
    return int(version)


def _named(error: BaseException) -> StoreError | None:  # noqa: PLR0911 - a table
    """Return what an error means to the store; None: it is not the database's."""
    match error:
        case psycopg.errors.DiskFull():
            return FullError(_words(error))
        case psycopg.Error() if remedy := _remedy(str(error)):
            return StoreError(f"{_words(error)}; {remedy}")
        case psycopg.DataError() | psycopg.IntegrityError() | psycopg.NotSupportedError():
            return RefusedError(_words(error))
        case psycopg.Error():  # connection, lock, time-out, disk, standby; also a right that is missing
            return UnavailableError(_words(error))
        case OSError():  # the password's file
            return UnavailableError(str(error))
        case OverflowError() | ValueError():
            return RefusedError(str(error))
    return None


def _remedy(words: str) -> str:
    return next((remedy for said, remedy in _NEVER.items() if said in words), "")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(512)
def _translated(statement: str) -> str:
    """Return a statement with psycopg's placeholders."""
    return re.sub(r":(\w+)", r"%(\1)s", statement.replace("%", "%%")).replace("?", "%s")


def _plain(parameters: Parameters) -> Any:
    """Return parameters without what PostgreSQL's text cannot hold: the character NUL."""
    if isinstance(parameters, dict):
        return {key: _without_nul(value) for key, value in parameters.items()}
    return [_without_nul(value) for value in parameters]


def _without_nul(value: object) -> object:
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
