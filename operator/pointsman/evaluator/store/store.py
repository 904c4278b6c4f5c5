"""What the evaluator asks of its store: batches in, counts and pending requests out, letting go in time."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from pointsman.evaluator.ledger import NodeState
from pointsman.evaluator.pending import read_pending, read_texts
from pointsman.evaluator.recount import recount, uncounted
from pointsman.evaluator.rows import Forgotten, Written, drop_texts, insert_captures, insert_requests
from pointsman.evaluator.score_rows import Transaction, insert_cases, insert_scores
from pointsman.evaluator.store.address import address as read_address
from pointsman.evaluator.store.connect import connect
from pointsman.evaluator.store.database import FullError
from pointsman.evaluator.store.gone import drop_rollouts, drop_series
from pointsman.evaluator.store.replicas import ALONE, ESTATE, fence
from pointsman.evaluator.store.series import labels_of, series_of
from pointsman.evaluator.totals import Name, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.rows import Batch, CaptureRow
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.store.database import Database
    from pointsman.evaluator.store.replicas import Replica

T = TypeVar("T")

CHUNK: Final = 2000
"""Rows deleted in one transaction: a sweep never holds the writer for long."""


class Store:
    """The store as one evaluator writes to it. Blocking: call it from one thread of its own."""

    def __init__(self, where: Address | str, *, shared: bool = False, replica: Replica = ALONE) -> None:
        """Open or create it. `shared`: beside a running evaluator (to forget a session, to check).

        `replica`: in whose name is counted, where several write to one database.
        """
        place = read_address(where) if isinstance(where, str) else where
        self.db: Database = connect(place, alone=not shared)
        self.replica = replica

    def close(self) -> None:
        """Close it."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading what was ------------------------------------------------------------------------------------

    def totals(self) -> Counter[Series]:
        """Return every counter of this replica as of the last transaction."""
        with self.db.snapshot():
            rows = self.db.execute(
                "SELECT family, labels, part, value FROM totals WHERE replica = ?", (self.replica.name,)
            ).fetchall()
        return Counter({series_of(*row[:3]): row[3] for row in rows})

    def estate(self) -> tuple[str, Counter[Series]]:
        """Return the counters that this replica has taken over from dead ones, and their label."""
        prefix = self.replica.name + ESTATE
        with self.db.snapshot():
            rows = self.db.execute(
                "SELECT family, labels, part, value, replica FROM totals WHERE substr(replica, 1, ?) = ?",
                (len(prefix), prefix),
            ).fetchall()
        label = rows[0][4].removeprefix(prefix) if rows else ""
        return label, Counter({series_of(*row[:3]): row[3] for row in rows})

    def all_totals(self) -> Counter[Series]:
        """Return the sums of all replicas' counters."""
        with self.db.snapshot():
            return self._all_totals()

    def recount(self) -> Counter[Series]:
        """Count the rows anew: while none was swept, `all_totals` must say the same of these families."""
        with self.db.snapshot():
            return recount(self.db)

    def damage(self) -> list[str]:
        """Return what is wrong with the store; reads all of it."""
        damage = self.db.damage()
        with self.db.snapshot():
            totals, rows = self._all_totals(), recount(self.db)
        return damage + uncounted(totals, rows)

    def pending(self) -> list[tuple[int, AccessRecord]]:
        """Return the requests that this replica has to score, by their row."""
        with self.db.snapshot():
            return read_pending(self.db, self.replica.name)

    def handed(self) -> list[tuple[int, AccessRecord]]:
        """Return those of them that another replica, or its heir, gave to this one."""
        with self.db.snapshot():
            return read_pending(self.db, self.replica.name, handed=True)

    def unscored(self, rows: Iterable[int]) -> set[int]:
        """Return those of some rows that nobody has scored yet."""
        wanted = [(row,) for row in rows]
        with self.db.snapshot():
            found = self.db.each("SELECT id FROM requests WHERE id = ? AND pending", wanted)
        return {ids[0][0] for ids in found if ids}

    def texts(self, requests: Iterable[tuple[str, str]]) -> list[CaptureRow]:
        """Return the stored texts of requests, given as (policy, request id)."""
        with self.db.snapshot():
            return read_texts(self.db, requests)

    def nodes(self) -> list[NodeState]:
        """Return what is known of each Envoy."""
        with self.db.snapshot():
            rows = self.db.execute(
                "SELECT node, received, finished, base, lost, seen_us FROM nodes"
            ).fetchall()
        return [NodeState(*row) for row in rows]

    def arrived(self, marks: Iterable[tuple[str, int]]) -> list[int]:
        """Return, for each (Envoy, horizon), how many of its requests that ended by then are stored."""
        wanted = [(horizon_us, node) for node, horizon_us in marks]
        with self.db.snapshot():
            found = self.db.each(
                "SELECT received - (SELECT count(*) FROM requests WHERE requests.node = nodes.node"
                " AND start_us + duration_us > ?) FROM nodes WHERE node = ?",
                wanted,
            )
        return [rows[0][0] if rows else 0 for rows in found]

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> Written:
        """Write a batch in one transaction: all of it, or none and a `StoreError`."""
        written, name = Written(), self.replica.name
        with self.db.transaction():
            fence(self.db, self.replica)
            insert_requests(self.db, batch.requests, written, name)
            insert_captures(self.db, batch.captures, written, name)
            if batch.scores or batch.cases:
                into = Transaction(self.db, self._dropped(), batch.now_us, written, name)
                insert_scores(into, batch.scores)
                insert_cases(into, batch.cases)
            self._write_nodes(batch, written)
            self.db.many(
                "INSERT INTO totals AS known (replica, family, labels, part, value) VALUES (?,?,?,?,?)"
                " ON CONFLICT (replica, family, labels, part)"
                " DO UPDATE SET value = known.value + excluded.value",
                [(name, s.family, labels_of(s.labels), s.part, n) for s, n in written.counts.items()],
            )
        return written

    def _write_nodes(self, batch: Batch, written: Written) -> None:
        self.db.many(
            "INSERT INTO nodes AS known (node, received, seen_us) VALUES (?,?,?) ON CONFLICT (node) DO UPDATE"
            " SET received = known.received + excluded.received, seen_us ="
            " CASE WHEN known.seen_us > excluded.seen_us THEN known.seen_us ELSE excluded.seen_us END",
            [(node, len(ends), batch.now_us) for node, ends in written.ends_us.items()],
        )
        known = self.db.each("SELECT lost FROM nodes WHERE node = ?", [(s.node,) for s in batch.nodes])
        # By what is stored, not by what was lost since: written twice, it counts once.
        lost = sum(
            s.lost - (found[0][0] if found else 0) for s, found in zip(batch.nodes, known, strict=True)
        )
        if lost > 0:
            written.counts[Series(Name.LOST, ())] += lost
        self.db.many(
            "INSERT INTO nodes (node, finished, base, lost, seen_us) VALUES (?,?,?,?,?) ON CONFLICT (node)"
            " DO UPDATE SET finished = excluded.finished, base = excluded.base, lost = excluded.lost,"
            " seen_us = excluded.seen_us",
            [(s.node, s.finished, s.base, s.lost, s.seen_us) for s in batch.nodes],
        )

    def hand_over(self, rows: Iterable[tuple[int, str]]) -> list[int]:
        """Let others score requests of ours, given as (row, replica); return those that they have now."""
        wanted = list(rows)
        with self.db.transaction():
            fence(self.db, self.replica)
            given = self.db.each(
                "UPDATE requests SET scorer = ?, handed = TRUE WHERE id = ? AND pending AND scorer = ?"
                " RETURNING id",
                [(to, row, self.replica.name) for row, to in wanted],
            )
        return [rows[0][0] for rows in given if rows]

    # -- letting go ------------------------------------------------------------------------------------------

    def sweep_texts(self, now_us: int, current: Mapping[str, int]) -> int:
        """Delete texts whose time is over; return how many.

        `current`: policy → its retention now, in seconds. The shorter of that and of what held when the text
        was written decides.
        """
        swept = 0
        with self.db.snapshot():
            policies = [row[0] for row in self.db.execute("SELECT DISTINCT policy FROM captures").fetchall()]
        for policy in policies:
            limit = current.get(policy, 1 << 40)
            swept += self._delete_chunks(
                "DELETE FROM captures WHERE (policy, request_id, half) IN"
                " (SELECT policy, request_id, half FROM captures WHERE policy = ? AND at_us <= ? - 1000000 *"
                " CASE WHEN retention_s < ? THEN retention_s ELSE ? END LIMIT ?)",
                (policy, now_us, limit, limit),
            )
        self.db.tidy()
        return swept

    def sweep_requests(self, before_us: int, nodes_before_us: int) -> int:
        """Delete rows of requests from before `before_us`; return how many. Totals stay: they never go back.

        With them go their results, and pairs and sessions as old. Envoys of which nothing was heard since
        `nodes_before_us`, and sessions deleted before it, go too.
        """
        old = "(SELECT id FROM requests WHERE start_us < ? ORDER BY start_us, id LIMIT ?)"
        swept = self._delete_chunks(
            f"DELETE FROM requests WHERE id IN {old}",  # noqa: S608 - no value is in it
            (before_us,),
            first=f"DELETE FROM results WHERE request IN {old}",  # noqa: S608 - no value is in it
        )
        for table, column in (("pairs", "at_us"), ("shadow_requests", "at_us"), ("sessions", "seen_us")):
            while self._let_go(partial(self._delete_before, table, column, before_us)):
                pass
        with self.db.deletion():
            self.db.execute("DELETE FROM rollouts WHERE over_us < ?", (before_us,))
            self.db.execute("DELETE FROM forgotten WHERE at_us < ?", (nodes_before_us,))
            self.db.execute("DELETE FROM nodes WHERE seen_us < ?", (nodes_before_us,))
        return swept

    def forget(self, session: str, now_us: int) -> Forgotten:
        """Delete a session's texts and its link to its requests (`session` is the digest).

        What is still under way is dropped when it arrives. The requests stay counted: no person is in them.
        """
        found = self._let_go(partial(self._forget, session, now_us))
        self.db.tidy()
        return found

    def _forget(self, session: str, now_us: int) -> Forgotten:
        with self.db.deletion():
            found = self.db.execute(
                "SELECT policy, request_id FROM requests WHERE session = ?", (session,)
            ).fetchall()
            texts = drop_texts(self.db, [(policy, request_id) for policy, request_id in found])
            self.db.execute(
                "UPDATE requests SET session = '', forgotten = TRUE WHERE session = ?", (session,)
            )
            self.db.execute("DELETE FROM sessions WHERE session = ?", (session,))
            self.db.execute(
                "INSERT INTO forgotten (session, at_us) VALUES (?,?)"
                " ON CONFLICT (session) DO UPDATE SET at_us = excluded.at_us",
                (session, now_us),
            )
        return Forgotten(len(found), texts)

    def drop_series(self, alive: Mapping[str, frozenset[str]], now_us: int, keep_us: int) -> list[Series]:
        """Drop counters of policies and revisions that have been gone for `keep_us`; return them.

        `alive`: policy → its revisions. What belongs to no policy stays; rollouts end by `drop_rollouts`.
        """
        totals = self.all_totals()
        with self.db.deletion():
            return drop_series(self.db, totals, alive, now_us, keep_us)

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
        totals = self.all_totals()
        with self.db.deletion():
            return drop_rollouts(self.db, totals, live, ended_us, now_us, keep_us)

    # -- inside ----------------------------------------------------------------------------------------------

    def _all_totals(self) -> Counter[Series]:
        rows = self.db.execute("SELECT family, labels, part, sum(value) FROM totals GROUP BY 1, 2, 3")
        return Counter({series_of(*row[:3]): row[3] for row in rows})

    def _let_go(self, work: Callable[[], T]) -> T:
        """Delete something; where there is no room even for that, with what was set aside for it."""
        try:
            return work()
        except FullError:
            if not self.db.make_room():
                raise
            return work()

    def _delete_before(self, table: str, column: str, before_us: int) -> bool:
        """Delete a chunk of rows; False if there was none."""
        with self.db.deletion():
            oldest = self.db.execute(
                f"SELECT {column} FROM {table} WHERE {column} < ? ORDER BY 1 LIMIT 1 OFFSET ?",  # noqa: S608 - names are ours
                (before_us, CHUNK),
            ).fetchone()
            upto = oldest[0] if oldest else before_us
            return self.db.execute(f"DELETE FROM {table} WHERE {column} < ?", (upto,)).rowcount > 0  # noqa: S608 - names are ours

    def _delete_chunks(self, statement: str, parameters: tuple[object, ...], first: str = "") -> int:
        """Delete until nothing is left to delete; `first` is run before each chunk, on the same rows."""
        deleted, chunk = 0, CHUNK

        def one() -> int:
            with self.db.deletion():
                if first:
                    self.db.execute(first, (*parameters, chunk))
                return self.db.execute(statement, (*parameters, chunk)).rowcount

        while True:
            try:
                count = self._let_go(one)
            except FullError:
                if chunk == 1:
                    raise
                chunk = max(1, chunk // 8)  # what is deleted is written over: that takes room, too
                self.db.make_room()
                continue
            deleted += count
            if count < chunk:
                return deleted
            if chunk < CHUNK:
                self.db.tidy()

    def _dropped(self) -> frozenset[tuple[str, str]]:
        rows = self.db.execute("SELECT policy, rollout FROM rollouts WHERE dropped").fetchall()
        return frozenset((policy, rollout) for policy, rollout in rows)
