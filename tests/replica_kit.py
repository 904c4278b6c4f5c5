"""Replicas of an evaluator in this process: writer, heartbeat and scoring on one PostgreSQL; no addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from evaluator_builders import known_policies
from pointsman.clock import system_clock
from pointsman.evaluator.bodies import Bodies
from pointsman.evaluator.classify import Classifiers
from pointsman.evaluator.intents import Intents
from pointsman.evaluator.member import Member, MemberMetrics, Terms
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.rollouts import Rollouts
from pointsman.evaluator.scoring import Scoring
from pointsman.evaluator.store import Store
from pointsman.evaluator.store.address import Server
from pointsman.evaluator.store.replicas import Replica, join
from pointsman.evaluator.totals import Name, Series
from pointsman.evaluator.writer import Writer, micros
from wait import until

ENTRIES = Series(Name.ENTRIES, ())
TERMS = Terms(beat_s=0.2, trusted_s=2.0, lease_s=4.0)


@dataclass
class One:
    """A replica in this process."""

    store: Store
    writer: Writer
    member: Member
    bodies: Bodies
    scoring: Scoring
    tasks: list[asyncio.Task[None]]

    def shown(self) -> float:
        """Return its counter of entries as Prometheus would sum it; 0 where it shows none."""
        text = self.writer.totals.render().decode()
        return sum(
            float(line.split()[1])
            for line in text.splitlines()
            if re.match(r"pointsman_access_log_entries_total[ {]", line)
        )

    async def die(self) -> None:
        """End at once, with whatever is in memory."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def replica(url: str, name: str, policies: Policies | None = None) -> AsyncIterator[One]:
    """Run a replica: its writer, its heartbeat, its scoring; no addresses."""
    registry, known = CollectorRegistry(), policies or known_policies()
    own = Replica(name)
    store = await asyncio.to_thread(Store, url, replica=own)
    join(store.db, own)
    writer = Writer(store, known, ProcessMetrics(registry), system_clock)
    member = Member(Server(url), own, lambda: micros(system_clock), MemberMetrics(registry), TERMS)
    writer.totals.trusted = lambda: member.trusted
    classifiers, bodies = Classifiers(registry), Bodies()
    intents = Intents(known, Rollouts(known), classifiers, registry)
    scoring = Scoring(writer, known, lambda _: (), intents, bodies=bodies, registry=registry, member=member)
    member.on_forgotten = bodies.clear
    tasks = [asyncio.create_task(work) for work in (writer.run(), member.run(writer), scoring.run())]
    one = One(store, writer, member, bodies, scoring, tasks)
    try:
        await until(lambda: member.trusted, 30)
        yield one
    finally:
        await one.die()
        await classifiers.close()
        store.close()


def total(url: str) -> int:
    """Return the entries that the database has counted, of all replicas."""
    with Store(url) as store:
        return store.all_totals()[ENTRIES]
