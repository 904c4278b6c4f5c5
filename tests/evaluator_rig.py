"""A running writer on a real store, with or without its HTTP addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from evaluator_builders import FakeClock
from pointsman.api.v1alpha1.meta import SecretKeyRef
from pointsman.evaluator.bodies import Bodies
from pointsman.evaluator.capture import Captures, capture_app
from pointsman.evaluator.classify import Classifiers
from pointsman.evaluator.http_api import Api
from pointsman.evaluator.intents import Intents
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.rollouts import Rollouts
from pointsman.evaluator.rubrics import Library
from pointsman.evaluator.scoring import Scoring
from pointsman.evaluator.shelf import Shelf
from pointsman.evaluator.store import Store
from pointsman.evaluator.store.address import Address, Server
from pointsman.evaluator.store.replicas import Replica, join
from pointsman.evaluator.sweeping import Keeping, sweep
from pointsman.evaluator.writer import Writer
from pointsman.fetching import Fetcher


async def _no_key(_: str, ref: SecretKeyRef) -> str:
    raise KeyError(ref.key)


@dataclass
class Rig:
    """Folder, clock and metrics that outlive the writers run with them."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    url: str = ""
    """A PostgreSQL database to store to; "": a file in the folder."""

    def __post_init__(self) -> None:
        self._metrics = ProcessMetrics(self.registry)

    @property
    def path(self) -> Path:
        """The store's file."""
        return self.folder / "requests.sqlite"

    @property
    def place(self) -> Address:
        """Where the store is."""
        return Server(self.url) if self.url else self.path

    def opened(self) -> Store:
        """Open the store as its next run would."""
        if not self.url:
            return Store(self.path)
        replica = Replica("rig")
        store = Store(self.place, replica=replica)
        join(store.db, replica)
        return store

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample of the exposition."""
        return self.registry.get_sample_value(name, labels)

    async def sweep(self, writer: Writer, policies: Policies) -> None:
        """Delete what has been kept long enough."""
        await sweep(writer, policies, Keeping(), self._metrics, self.clock)

    def files_hold(self, word: bytes) -> bool:
        """Whether `word` is in any of the store's files."""
        return any(word in file.read_bytes() for file in self.folder.iterdir())

    @asynccontextmanager
    async def writer(self, policies: Policies) -> AsyncIterator[Writer]:
        """Run a writer; at the end it is stopped gracefully and its store closed."""
        with self.opened() as store:
            writer = Writer(store, policies, self._metrics, self.clock)
            self.registry.register(writer.totals)
            task = asyncio.create_task(writer.run())
            try:
                yield writer
            finally:
                writer.stop()
                await task
                self.registry.unregister(writer.totals)

    @asynccontextmanager
    async def scoring(self, policies: Policies) -> AsyncIterator[tuple[Writer, Scoring]]:
        """Run a writer and what scores its requests, with a registry of their own."""
        registry = CollectorRegistry()
        async with self.writer(policies) as writer:
            fetch = Fetcher(None)
            library = Library(fetch, _no_key, registry)
            classifiers = Classifiers(registry)
            intents = Intents(policies, Rollouts(policies), classifiers, registry)
            scoring = Scoring(
                writer,
                policies,
                Shelf(policies, library).scorers,
                intents,
                bodies=Bodies(),
                registry=registry,
            )
            task = asyncio.create_task(scoring.run())
            try:
                yield writer, scoring
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await classifiers.close()
                await library.close()
                await fetch.close()

    @asynccontextmanager
    async def http(self, policies: Policies) -> AsyncIterator[tuple[httpx.AsyncClient, Writer]]:
        """Run a writer with both HTTP applications on one address: captures at /, our own under /own."""
        async with self.writer(policies) as writer:
            captures = Captures(policies, writer.offer, writer.totals, self.clock)
            task = asyncio.create_task(captures.run())
            api = Api(writer, policies, self.place, CollectorRegistry(), self.clock)
            app = capture_app(captures, api.deletion())
            app.add_subapp("/own", api.app())
            async with (
                TestServer(app) as server,
                httpx.AsyncClient(base_url=str(server.make_url("/")), trust_env=False) as client,
            ):
                yield client, writer
            task.cancel()
