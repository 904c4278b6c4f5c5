"""SQLite: one writer, whole batches. What is in a batch is there after a crash, or none of it is."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

from pointsman.evaluator.evidence import ALL_FAMILIES
from pointsman.evaluator.ledger import NodeState
from pointsman.evaluator.pending import read_pending, read_texts
from pointsman.evaluator.recount import recount, uncounted
from pointsman.evaluator.rows import Forgotten, Written, drop_texts, insert_capture, insert_request
from pointsman.evaluator.schema import NewerStoreError, migrate
from pointsman.evaluator.score_rows import Transaction, insert_case, insert_score
from pointsman.evaluator.totals import Name, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.rows import Batch, CaptureRow


BUSY_S: Final = 2.0
"""How long a write waits for another process that holds the store (`evaluator forget`, a backup)."""
CHUNK: Final = 2000
"""Rows deleted in one transaction: a sweep never holds the writer for long."""


class StoreError(Exception):
    """The store cannot be used; the text says why and what to do."""


class Store:
    """The store of one evaluator. Blocking: call it from one thread of its own."""

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        """Open or create the file. `shared`: beside a running evaluator (to forget a session, to check)."""
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if not shared:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(f"--store {path}: another evaluator has it; give each its own file") from error
        try:
            self._db = _open(path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close it; the write-ahead log is folded in."""
        self._db.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading what was ------------------------------------------------------------------------------------

    def totals(self) -> Counter[Series]:
        """Return every counter as of the last transaction."""
        rows = self._db.execute("SELECT family, labels, part, value FROM totals")
        return Counter(
            {Series(family, tuple(json.loads(labels)), part): value for family, labels, part, value in rows}
        )

    def recount(self) -> Counter[Series]:
        """Count the rows anew: while none was swept, `totals` must say the same of these families."""
        return recount(self._db)

    def damage(self) -> list[str]:
        """Return what is wrong with the file; reads all of it."""
        found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)")]
        damage = [] if found == ["ok"] else found
        self._db.execute("BEGIN")  # one snapshot, beside a running writer
        totals, rows = self.totals(), self.recount()
        self._db.execute("COMMIT")
        return damage + uncounted(totals, rows)

    def pending(self) -> list[tuple[int, AccessRecord]]:
        """Return the requests that are neither scored nor given up, by their row."""
        return read_pending(self._db)

    def texts(self, requests: Iterable[tuple[str, str]]) -> list[CaptureRow]:
        """Return the stored texts of requests, given as (policy, request id)."""
        return read_texts(self._db, requests)

    def nodes(self) -> list[NodeState]:
        """Return what is known of each Envoy."""
        rows = self._db.execute("SELECT node, received, finished, base, lost, seen_us FROM nodes")
        return [NodeState(*row) for row in rows]

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> Written:
        """Write a batch in one transaction: all of it, or none and `sqlite3.Error`."""
        written = Written()
        with self._transaction() as db:
            forgotten = dict(db.execute("SELECT session, at_us FROM forgotten").fetchall())
            for record, measures in batch.requests:
                insert_request(db, record, measures, forgotten, written)
            for capture in batch.captures:
                insert_capture(db, capture, written)
            if batch.scores or batch.cases:
                into = Transaction(db, _dropped(db), batch.now_us, written)
                for score in batch.scores:
                    insert_score(into, score)
                for case in batch.cases:
                    insert_case(into, case)
            for node, ends in written.ends_us.items():
                db.execute(
                    "INSERT INTO nodes (node, received, seen_us) VALUES (?1, ?2, ?3)"
                    " ON CONFLICT (node) DO UPDATE SET received = received + ?2, seen_us = max(seen_us, ?3)",
                    (node, len(ends), batch.now_us),
                )
            for state in batch.nodes:
                db.execute(
                    "INSERT INTO nodes (node, finished, base, lost, seen_us) VALUES (?1, ?2, ?3, ?4, ?5)"
                    " ON CONFLICT (node) DO UPDATE SET finished = ?2, base = ?3, lost = ?4, seen_us = ?5",
                    (state.node, state.finished, state.base, state.lost, state.seen_us),
                )
            if batch.lost:
                written.counts[Series(Name.LOST, ())] += batch.lost
            db.executemany(
                "INSERT INTO totals (family, labels, part, value) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT DO UPDATE SET value = value + ?4",
                [(s.family, _labels(s.labels), s.part, amount) for s, amount in written.counts.items()],
            )
        return written

    # -- letting go ------------------------------------------------------------------------------------------

    def sweep_texts(self, now_us: int, current: Mapping[str, int]) -> int:
        """Delete texts whose time is over; return how many.

        `current`: policy → its retention now, in seconds. The shorter of that and of what held when the text
        was written decides.
        """
        swept = 0
        policies = [row[0] for row in self._db.execute("SELECT DISTINCT policy FROM captures")]
        for policy in policies:
            swept += self._delete_chunks(
                "DELETE FROM captures WHERE rowid IN (SELECT rowid FROM captures WHERE policy = ? AND"
                " at_us <= ? - 1000000 * min(retention_s, ?) LIMIT ?)",
                (policy, now_us, current.get(policy, 1 << 40)),
            )
        self._fold()
        return swept

    def sweep_requests(self, before_us: int, nodes_before_us: int) -> int:
        """Delete rows of requests from before `before_us`; return how many. Totals stay: they never go back.

        With them go their results, and pairs and sessions as old. Envoys of which nothing was heard since
        `nodes_before_us`, and sessions deleted before it, go too.
        """
        old = "(SELECT id FROM requests WHERE start_us < ?1 LIMIT ?2)"
        swept = self._delete_chunks(
            f"DELETE FROM requests WHERE id IN {old}",  # noqa: S608 - no value is in it
            (before_us,),
            first=f"DELETE FROM results WHERE request IN {old}",  # noqa: S608 - no value is in it
        )
        for table, column in (("pairs", "at_us"), ("shadow_requests", "at_us"), ("sessions", "seen_us")):
            while self._delete_before(table, column, before_us):
                pass
        with self._transaction() as db:
            db.execute("DELETE FROM rollouts WHERE over_us < ?", (before_us,))
            db.execute("DELETE FROM forgotten WHERE at_us < ?", (nodes_before_us,))
            db.execute("DELETE FROM nodes WHERE seen_us < ?", (nodes_before_us,))
        return swept

    def forget(self, session: str, now_us: int) -> Forgotten:
        """Delete a session's texts and its link to its requests (`session` is the digest).

        What is still under way is dropped when it arrives. The requests stay counted: no person is in them.
        """
        with self._transaction() as db:
            found = db.execute(
                "SELECT policy, request_id FROM requests WHERE session = ?", (session,)
            ).fetchall()
            texts = drop_texts(db, found)
            db.execute("UPDATE requests SET session = '', forgotten = 1 WHERE session = ?", (session,))
            db.execute("DELETE FROM sessions WHERE session = ?", (session,))
            db.execute(
                "INSERT INTO forgotten VALUES (?1, ?2) ON CONFLICT DO UPDATE SET at_us = ?2",
                (session, now_us),
            )
        self._fold()
        return Forgotten(len(found), texts)

    def drop_series(self, alive: Mapping[str, frozenset[str]], now_us: int, keep_us: int) -> list[Series]:
        """Drop counters of policies and revisions that have been gone for `keep_us`; return them.

        `alive`: policy → its revisions. What belongs to no policy stays; rollouts end by `drop_rollouts`.
        """
        scopes: dict[tuple[str, str], list[Series]] = defaultdict(list)
        for series in self.totals():
            labels = dict(zip(ALL_FAMILIES[series.family].labels, series.labels, strict=True))
            if labels.get("policy") and "rollout" not in labels:
                scopes[f"{labels['namespace']}/{labels['policy']}", labels.get("revision", "")].append(series)
        dropped: list[Series] = []
        with self._transaction() as db:
            since = {(p, r): at for p, r, at in db.execute("SELECT policy, revision, since_us FROM gone")}
            for (policy, revision), members in scopes.items():
                if policy in alive and (not revision or revision in alive[policy]):
                    db.execute("DELETE FROM gone WHERE policy = ? AND revision = ?", (policy, revision))
                elif since.get((policy, revision), now_us) + keep_us <= now_us:
                    dropped += members
                    _uncount(db, policy, revision)
                    db.execute("DELETE FROM gone WHERE policy = ? AND revision = ?", (policy, revision))
                else:
                    db.execute("INSERT OR IGNORE INTO gone VALUES (?, ?, ?)", (policy, revision, now_us))
            _delete_totals(db, dropped)
        return dropped

    def drop_rollouts(
        self,
        live: frozenset[tuple[str, str]],
        ended_us: Mapping[tuple[str, str], int],
        now_us: int,
        keep_us: int,
    ) -> list[Series]:
        """Drop counters of rollouts that have been over for `keep_us`, for good; return them.

        `live` and `ended_us` name rollouts as (policy, id). One that is neither was superseded: it is over
        from the first time that it is seen so.
        """
        members: dict[tuple[str, str], list[Series]] = defaultdict(list)
        for series in self.totals():
            labels = dict(zip(ALL_FAMILIES[series.family].labels, series.labels, strict=True))
            if "rollout" in labels:
                members[f"{labels['namespace']}/{labels['policy']}", labels["rollout"]].append(series)
        dropped: list[Series] = []
        with self._transaction() as db:
            for rollout, series_of_it in members.items():
                if rollout in live:
                    db.execute("DELETE FROM rollouts WHERE policy = ? AND rollout = ?", rollout)
                    continue
                over_us = ended_us.get(rollout, now_us)
                db.execute("INSERT OR IGNORE INTO rollouts VALUES (?,?,?,0)", (*rollout, over_us))
                (since_us,) = db.execute(
                    "SELECT over_us FROM rollouts WHERE policy = ? AND rollout = ?", rollout
                ).fetchone()
                if since_us + keep_us <= now_us:
                    dropped += series_of_it
                    db.execute("UPDATE rollouts SET dropped = 1 WHERE policy = ? AND rollout = ?", rollout)
                    for statement in _END_OF_GATE:
                        db.execute(statement, rollout)
            _delete_totals(db, dropped)
        return dropped

    # -- inside ----------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled back already
                self._db.execute("ROLLBACK")
            raise

    def _delete_before(self, table: str, column: str, before_us: int) -> bool:
        """Delete a chunk of rows; False if there was none."""
        with self._transaction() as db:
            oldest = db.execute(
                f"SELECT {column} FROM {table} WHERE {column} < ? ORDER BY 1 LIMIT 1 OFFSET ?",  # noqa: S608 - names are ours
                (before_us, CHUNK),
            ).fetchone()
            upto = oldest[0] if oldest else before_us
            return db.execute(f"DELETE FROM {table} WHERE {column} < ?", (upto,)).rowcount > 0  # noqa: S608 - names are ours

    def _delete_chunks(self, statement: str, parameters: tuple[object, ...], first: str = "") -> int:
        """Delete until nothing is left to delete; `first` is run before each chunk, on the same rows."""
        deleted = 0
        while True:
            with self._transaction() as db:
                if first:
                    db.execute(first, (*parameters, CHUNK))
                count = db.execute(statement, (*parameters, CHUNK)).rowcount
            deleted += count
            if count < CHUNK:
                return deleted

    def _fold(self) -> None:
        """Take what was deleted out of the write-ahead log, and give its pages back."""
        self._db.execute("PRAGMA incremental_vacuum").fetchall()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the file, readable by its owner alone."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON").fetchone()
        migrate(db)
    except NewerStoreError as error:
        db.close()
        raise StoreError(str(error)) from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise StoreError(
            f"--store {path}: {error}; move the file away or repair it with sqlite3's .recover"
        ) from error
    return db


_END_OF_GATE: Final = (
    "DELETE FROM gates WHERE policy = ? AND rollout = ?",
    "DELETE FROM gate_cases WHERE policy = ? AND rollout = ?",
    "DELETE FROM gate_clusters WHERE policy = ? AND rollout = ?",
)


def _dropped(db: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    return frozenset(db.execute("SELECT policy, rollout FROM rollouts WHERE dropped").fetchall())


def _uncount(db: sqlite3.Connection, policy: str, revision: str) -> None:
    """Let rows no longer say that they are counted in series that are dropped."""
    db.execute(
        "UPDATE requests SET half = '' WHERE policy = ? AND revision = ? AND half <> ''", (policy, revision)
    )
    db.execute("DELETE FROM sessions WHERE policy = ? AND revision = ?", (policy, revision))


def _delete_totals(db: sqlite3.Connection, dropped: Iterable[Series]) -> None:
    db.executemany(
        "DELETE FROM totals WHERE family = ? AND labels = ? AND part = ?",
        [(s.family, _labels(s.labels), s.part) for s in dropped],
    )


@lru_cache(8192)
def _labels(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
