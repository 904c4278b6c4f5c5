"""An agent in this process, beside a real Triton; the operator's real bundle service, with mutual TLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from pointsman import install
from pointsman.agent import serve
from pointsman.api.conditions import ClassifierReadyReason
from pointsman.controllers.bundles import BundleService, Lists
from pointsman.fetching import FetchError
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.pools.models import Model, ModelList, dump
from pointsman.rollout.observation import Source
from pointsman.tls_files import TLSFiles
from pointsman.triton.endpoint import Settings as LoadSettings
from wait import until

POOL = "default"


def model(content: bytes, *, proven: bool = False, traffic: bool = False) -> Model:
    """Return an entry of a list."""
    digest = hashlib.sha256(content).hexdigest()
    return Model(digest, (Source("chat", "configmap://bundle", digest),), proven=proven, traffic=traffic)


def leaf(authority: Authority, service: str) -> TLSFiles:
    """Return a part's certificate, named as an installation does; 127.0.0.1 beside it."""
    hosts = [service, install.service_host(service, install.SYSTEM_NAMESPACE), LOCALHOST]
    pair = authority.leaf(service, service, hosts=hosts)
    return TLSFiles(pair.cert, pair.key, authority.pair.cert)


@dataclass
class Operator:
    """A bundle service, and what it is given."""

    url: str
    lists: Lists = field(default_factory=Lists)
    bundles: dict[str, bytes] = field(default_factory=dict)
    """By digest; those that are not here cannot be fetched."""
    fetches: int = 0

    def publish(self, *contents: bytes, revision: int = 1, traffic: bool = True) -> ModelList:
        """Have the pool hold these bundles."""
        models = tuple(model(content, traffic=traffic) for content in contents)
        self.bundles |= {hashlib.sha256(content).hexdigest(): content for content in contents}
        wanted = ModelList(models, revision)
        self.lists.put(POOL, wanted)
        return wanted

    async def content(self, source: Source) -> bytes:
        """Return a bundle."""
        self.fetches += 1
        if source.sha256 not in self.bundles:
            raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, f"nothing is at {source.uri}")
        return self.bundles[source.sha256]


@asynccontextmanager
async def operator(authority: Authority) -> AsyncIterator[Operator]:
    """Run a bundle service."""
    address = f"{LOCALHOST}:{free_port()}"
    running = Operator(f"https://{address}")
    service = BundleService(running.lists, running.content, CollectorRegistry())
    runner = await service.serve(address, leaf(authority, install.OPERATOR))
    try:
        yield running
    finally:
        await runner.cleanup()


@dataclass
class Agent:
    """A running agent."""

    http: httpx.AsyncClient
    stop: asyncio.Event
    task: asyncio.Task[int]

    async def state(self) -> dict[str, Any]:
        """Return what it tells the operator."""
        found: dict[str, Any] = (await self.http.get("/v1/state")).json()
        return found

    async def ready(self) -> bool:
        """Tell whether the pod would be ready."""
        return (await self.http.get("/readyz")).status_code == 200

    async def becomes_ready(self, deadline_s: float = 30) -> None:
        """Wait for it."""
        await until(self.ready, deadline_s, 0.05, f"ready: {await self.state()}")

    async def phase(self, sha256: str) -> dict[str, Any]:
        """Return what it says of a bundle, {} if nothing."""
        models = (await self.state())["models"]
        return next((found for found in models if found["sha256"] == sha256), {})

    async def becomes(self, sha256: str, phase: str, deadline_s: float = 30) -> dict[str, Any]:
        """Wait until a bundle is in a phase; return what is said of it."""

        async def there() -> bool:
            return (await self.phase(sha256)).get("phase") == phase

        await until(there, deadline_s, 0.05, f"{sha256[:12]} is {phase}: {await self.state()}")
        return await self.phase(sha256)


@asynccontextmanager
async def agent(
    triton: str,
    folder: Path,
    *,
    operator: str | None = None,
    tls: TLSFiles | None = None,
    models: ModelList | None = None,
    **more: Any,
) -> AsyncIterator[Agent]:
    """Run an agent on a folder: its list and its cache."""
    if models is not None:
        write(folder, models)
    address = more.pop("http_address", None) or f"{LOCALHOST}:{free_port()}"
    load = more.pop("load", LoadSettings(poll_s=0.2, grace_s=0.5, check_s=0.5))
    settings = serve.Settings(
        pool=POOL,
        triton=triton,
        models=folder / "models.json",
        http_address=address,
        cache=folder / "cache",
        operator=operator,
        tls=tls,
        load=load,
        drain_s=more.pop("drain_s", 0.0),
        **more,
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve.run(settings, stop), name="agent")
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=5) as http:
        running = Agent(http, stop, task)
        try:
            await until(lambda: _answers(running), 10, what="the agent answers")
            yield running
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=True)


def write(folder: Path, models: ModelList) -> None:
    """Put a list where the ConfigMap is mounted; at once, as the kubelet does."""
    part = folder / "models.part"
    part.write_text(dump(models), "utf-8")
    part.replace(folder / "models.json")


async def _answers(running: Agent) -> bool:
    if running.task.done():
        raise AssertionError(f"the agent ended: {running.task.result()}")
    try:
        return bool(json.dumps(await running.state()))
    except httpx.TransportError:
        return False
