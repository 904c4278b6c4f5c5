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
from pointsman.evaluator.capture import Captures, capture_app
from pointsman.evaluator.http_api import Api
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.store import Store
from pointsman.evaluator.writer import Writer


@dataclass
class Rig:
    """Folder, clock and metrics that outlive the writers run with them."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._metrics = ProcessMetrics(self.registry)

    @property
    def path(self) -> Path:
        """The store's file."""
        return self.folder / "requests.sqlite"

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample of the exposition."""
        return self.registry.get_sample_value(name, labels)

    def files_hold(self, word: bytes) -> bool:
        """Whether `word` is in any of the store's files."""
        return any(word in file.read_bytes() for file in self.folder.iterdir())

    @asynccontextmanager
    async def writer(self, policies: Policies) -> AsyncIterator[Writer]:
        """Run a writer; at the end it is stopped gracefully and its store closed."""
        with Store(self.path) as store:
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
    async def http(self, policies: Policies) -> AsyncIterator[tuple[httpx.AsyncClient, Writer]]:
        """Run a writer with both HTTP applications on one address: captures at /, our own under /own."""
        async with self.writer(policies) as writer:
            captures = Captures(policies, writer.offer, writer.totals, self.clock)
            task = asyncio.create_task(captures.run())
            app = capture_app(captures)
            app.add_subapp("/own", Api(writer, policies, self.path, self.registry, self.clock).app())
            async with (
                TestServer(app) as server,
                httpx.AsyncClient(base_url=str(server.make_url("/")), trust_env=False) as client,
            ):
                yield client, writer
            task.cancel()
