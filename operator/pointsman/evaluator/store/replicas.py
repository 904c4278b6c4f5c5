"""Several evaluators on one database: who counts in whose name, who leads, who inherits. Blocking.

Each replica counts what it wrote in rows of `totals` of its own. One that was not heard of for `LEASE_S` is
dead: the leader takes over its counts and what it had to score, in one transaction, so that no count is twice
anywhere. They are not added to the leader's own, which would look to Prometheus as if all of it had just
happened: they are its *estate*, shown beside its own counts under a label that is new with each death.
A replica that was taken for dead and is not finds no row of itself at its next write (`FencedError`), and
joins anew, with counts from zero. It has shown none since `TRUSTED_S`.
All times are the database's clock.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.store.database import FencedError, TakenError

if TYPE_CHECKING:
    from pointsman.evaluator.store.database import Database
    from pointsman.evaluator.store.postgres import Postgres

LEASE_S: Final = 30.0
TRUSTED_S: Final = 10.0
"""A replica that cannot reach the database for so long shows no counts. What lies between that and the lease
is for Prometheus to see it: scrape more often than every 20 s."""
ESTATE: Final = "/"
"""Between the heir's name and the label, in the rows of an estate; no name of a replica has one."""
_NOW: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Replica:
    """One run of one replica. The name is the same after a restart (of a StatefulSet's pod, its own)."""

    name: str
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)


ALONE: Final = Replica("", "")
"""The one evaluator of a file."""


@dataclass(frozen=True, slots=True)
class Behind:
    """How old the oldest thing is, in microseconds; 0: there is none."""

    unstored_us: int = 0
    unscored_us: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat told."""

    now_us: int
    member: bool
    """Whether we are one of the replicas still."""
    leads: bool
    live: frozenset[str]
    """Replicas that were heard of within a lease."""
    silent_us: int | None
    """Until when a silent one had scored what it received; None: all were heard of just now."""
    stored_until_us: int
    """What any live replica received before is stored."""
    forgotten_us: int
    """When a session was last deleted."""
    dead: tuple[str, ...]
    """Replicas that were not heard of for a lease."""


def fence(db: Database, replica: Replica) -> None:
    """Raise unless counts in the replica's name are its own still; to be called within the transaction."""
    if replica is ALONE:
        return
    found = db.execute("SELECT instance FROM replicas WHERE replica = ?", (replica.name,)).fetchone()
    if found is None:
        raise FencedError(f"replica {replica.name} was not heard of in time; another counts on for it")
    if found[0] != replica.instance:
        raise _taken(replica)


def join(db: Database, replica: Replica) -> None:
    """Take part; a run before us under the same name is fenced from now on."""
    with db.transaction():
        db.execute(
            f"INSERT INTO replicas (replica, instance, seen_us, stored_until_us, scored_until_us)"  # noqa: S608 - a constant of ours
            f" VALUES (?, ?, {_NOW}, {_NOW}, 0)"
            " ON CONFLICT (replica) DO UPDATE SET instance = excluded.instance, seen_us = excluded.seen_us",
            (replica.name, replica.instance),
        )


def beat(db: Postgres, replica: Replica, behind: Behind, lease_s: float, trusted_s: float) -> Beat:
    """Say that we live, and how far behind we are; lead if nobody does.

    `StoreError`: another run has taken our name.
    """
    with db.beating():
        (now_us,) = db.execute(f"SELECT {_NOW}").fetchone() or (0,)
        db.execute(
            "UPDATE replicas SET seen_us = ?, stored_until_us = ?, scored_until_us = ?"
            " WHERE replica = ? AND instance = ?",
            (
                now_us,
                now_us - behind.unstored_us,
                now_us - behind.unscored_us,
                replica.name,
                replica.instance,
            ),
        )
        db.execute(
            "INSERT INTO leases AS known (name, holder, until_us) VALUES ('leader', ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_us = excluded.until_us"
            " WHERE known.holder = excluded.holder OR known.until_us < ?",
            (replica.name, now_us + _micros(lease_s), now_us),
        )
        (holder,) = db.execute("SELECT holder FROM leases WHERE name = 'leader'").fetchone() or ("",)
        rows = db.execute(
            "SELECT replica, instance, seen_us, stored_until_us, scored_until_us FROM replicas"
        ).fetchall()
        (forgotten_us,) = db.execute("SELECT coalesce(max(at_us), 0) FROM forgotten").fetchone() or (0,)
    instances = {row[0]: row[1] for row in rows}
    if instances.get(replica.name, replica.instance) != replica.instance:
        raise _taken(replica)
    live = [row for row in rows if row[2] >= now_us - _micros(lease_s)]
    silent = [row[4] for row in rows if row[2] < now_us - _micros(trusted_s)]
    return Beat(
        now_us=now_us,
        member=replica.name in instances,
        leads=replica.name in instances and holder == replica.name,
        live=frozenset(row[0] for row in live),
        silent_us=min(silent, default=None),
        stored_until_us=min((row[3] for row in live), default=0),
        forgotten_us=forgotten_us,
        dead=tuple(sorted(row[0] for row in rows if row not in live)),
    )


def adopt(db: Database, replica: Replica, dead: str, lease_s: float) -> bool:
    """Take over a dead replica's counts and what it had to score; False: it lives after all."""
    with db.transaction():
        fence(db, replica)
        gone = db.execute(
            f"DELETE FROM replicas WHERE replica = ? AND replica <> ? AND seen_us < {_NOW} - ? RETURNING 1",  # noqa: S608 - a constant of ours
            (dead, replica.name, _micros(lease_s)),
        ).fetchone()
        if gone is None:
            return False
        estate = f"{replica.name}{ESTATE}{uuid.uuid4().hex[:8]}"
        db.execute(
            "INSERT INTO totals (replica, family, labels, part, value)"
            " SELECT ?, family, labels, part, sum(value) FROM totals"
            " WHERE replica = ? OR starts_with(replica, ?) OR starts_with(replica, ?) GROUP BY 2, 3, 4",
            (estate, dead, dead + ESTATE, replica.name + ESTATE),
        )
        db.execute(
            "DELETE FROM totals WHERE replica <> ?"
            " AND (replica = ? OR starts_with(replica, ?) OR starts_with(replica, ?))",
            (estate, dead, dead + ESTATE, replica.name + ESTATE),
        )
        db.execute(
            "UPDATE requests SET scorer = ?, handed = TRUE WHERE pending AND scorer = ?", (replica.name, dead)
        )
    return True


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _taken(replica: Replica) -> TakenError:
    return TakenError(f"another evaluator runs as replica {replica.name}; give each its own --replica")
