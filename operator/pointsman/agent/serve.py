"""The agent as a process: list, Triton, probes; it ends on SIGTERM, and says so first."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from pointsman import probes
from pointsman.address import split_address
from pointsman.agent.cache import BundleCache
from pointsman.agent.desired import Desired
from pointsman.agent.gate import PATIENCE_S
from pointsman.agent.keeper import Keeper, KeeperMetrics
from pointsman.agent.operator_door import DoorMetrics, OperatorDoor
from pointsman.api.conditions import ClassifierReadyReason
from pointsman.fetching import FetchError
from pointsman.pools.pod_template import CONTROL_HEADER
from pointsman.triton.client import TritonClient, TritonMetrics
from pointsman.triton.endpoint import Settings as LoadSettings

if TYPE_CHECKING:
    from pointsman.tls_files import TLSFiles

log = logging.getLogger(__name__)

STOPPED: Final = 0
BROKEN: Final = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent is told at its start."""

    pool: str
    triton: str
    models: Path
    http_address: str
    cache: Path
    operator: str | None = None
    tls: TLSFiles | None = None
    control_key: Path | None = None
    load: LoadSettings = field(default_factory=lambda: LoadSettings(poll_s=1.0))
    patience_s: float = PATIENCE_S
    drain_s: float = 5.0
    """Between being told to end and ending: not ready meanwhile."""


async def run(settings: Settings, stop: asyncio.Event | None = None) -> int:
    """Run the agent until `stop`, SIGTERM or SIGINT; return the exit code."""
    stop = stop or asyncio.Event()
    registry = CollectorRegistry()
    key = control_key(settings.control_key) if settings.control_key is not None else None
    headers = {CONTROL_HEADER: key} if key is not None else {}
    async with AsyncExitStack() as stack:
        client = TritonClient(TritonMetrics(registry), lambda: headers)
        stack.push_async_callback(client.close)
        door = None
        if settings.operator is not None:
            door = OperatorDoor(settings.operator, settings.tls, DoorMetrics(registry))
            stack.push_async_callback(door.close)
        cache = BundleCache(settings.cache, door.bundle if door is not None else _nowhere)
        keeper = Keeper(
            settings.triton,
            client,
            cache,
            KeeperMetrics(registry),
            settings=settings.load,
            patience_s=settings.patience_s,
        )
        desired = Desired(settings.models, settings.pool, door, keeper.want)
        runner = await _serve(settings.http_address, registry, keeper)
        stack.push_async_callback(runner.cleanup)
        _on_signal(stop)
        work: list[asyncio.Task[Any]] = [
            asyncio.create_task(desired.run(), name="list"),
            asyncio.create_task(keeper.run(), name="triton"),
        ]
        stack.push_async_callback(_cancel, work)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        stack.push_async_callback(_cancel, [stopping])
        await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            ended = next(task for task in work if task.done())
            log.error("the agent cannot go on: %s ended", ended.get_name(), exc_info=ended.exception())
            return BROKEN
        keeper.stopping = True
        await asyncio.sleep(settings.drain_s)
        return STOPPED


def control_key(path: Path) -> str:
    """Return the key of Triton's restricted API; made at the pod's start, which Triton waits for."""
    with suppress(FileNotFoundError):
        found = path.read_text("ascii").strip()
        if found:
            return found
    key = secrets.token_hex(32)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o440), "w") as stream:
        stream.write(key)
    part.replace(path)
    return key


async def _serve(address: str, registry: CollectorRegistry, keeper: Keeper) -> web.AppRunner:
    """Listen on `host:port`: /healthz, /readyz, /v1/state, /metrics."""

    def ready() -> tuple[bool, str]:
        judged = keeper.verdict()
        return judged.ready, judged.why

    async def state(_: web.Request) -> web.Response:
        return web.json_response(keeper.state().to_json())

    app = web.Application()
    app.add_routes([*probes.routes(registry, ready), web.get("/v1/state", state)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, *split_address(address)).start()
    return runner


async def _nowhere(sha256: str) -> bytes:
    words = f"bundle {sha256} is not in the cache, and there is no operator to ask (--operator)"
    raise FetchError(ClassifierReadyReason.FETCH_FAILED, words)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _on_signal(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(RuntimeError, ValueError, NotImplementedError):  # not in the main thread: a test
            loop.add_signal_handler(number, stop.set)
