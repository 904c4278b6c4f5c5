"""`pointsman xds`: API server in, Envoys out. Keeps nothing: kill it at any moment, run several."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from pointsman.address import split_address
from pointsman.clock import system_clock
from pointsman.kube.client import KubeClient
from pointsman.kube.metrics import KubeMetrics
from pointsman.tls import grpc_credentials
from pointsman.xds.coalesce import MOST_S, QUIET_S
from pointsman.xds.delta import Timing
from pointsman.xds.hub import Hub
from pointsman.xds.metrics import XdsMetrics
from pointsman.xds.server import server
from pointsman.xds.state import StateBoard, app
from pointsman.xds.sync import Sync
from pointsman.xds.translate import Options

if TYPE_CHECKING:
    from pathlib import Path

    import grpc

log = logging.getLogger(__name__)

_GRACE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; with `client_ca`, clients must show a certificate of it."""

    cert: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told. Addresses are `host:port`; `kubeconfig` None: the pod's own cluster."""

    kubeconfig: Path | None
    grpc_address: str
    http_address: str
    options: Options
    tls: TlsFiles | None = None
    timing: Timing = field(default_factory=Timing)
    quiet_s: float = QUIET_S
    most_s: float = MOST_S
    system_namespace: str | None = None
    """Where the RoutingGateways lie; None: whatever a policy names is a gateway, with one listener."""
    namespaces: tuple[str, ...] = ()
    """Whose policies are served; empty: of all."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(serve(settings, registry))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done():
        log.info("stopping")
        serving.cancel()
    try:
        await serving
    except asyncio.CancelledError:
        log.info("stopped")


async def serve(settings: Settings, registry: CollectorRegistry) -> None:
    """Serve until cancelled; whatever breaks ends the process, and the next one starts from nothing."""
    client = await KubeClient.open(
        str(settings.kubeconfig) if settings.kubeconfig else None, KubeMetrics(registry)
    )
    async with client, asyncio.TaskGroup() as group:
        touch: list[StateBoard] = []

        def changed() -> None:
            for board in touch:
                board.touch()

        sync = Sync(
            client,
            group,
            changed,
            quiet_s=settings.quiet_s,
            most_s=settings.most_s,
            system_namespace=settings.system_namespace,
            namespaces=settings.namespaces,
        )

        def answered() -> None:
            changed()
            sync.moved()

        metrics = XdsMetrics(registry)
        metrics.certificates.set_function(lambda: sync.unusable_certificates)
        hub = Hub(settings.options, sync.key, metrics, answered, settings.timing, front_of=sync.front)
        board = StateBoard(lambda: sync.state(hub), round(system_clock().timestamp() * 1000))
        touch.append(board)
        group.create_task(board.run(), name="state")
        discovery = server(hub, settings.grpc_address, _credentials(settings.tls))
        runner = web.AppRunner(
            app(
                board,
                registry,
                lambda: (True, "ok") if sync.synced else (False, "the caches have not synced"),
            ),
            access_log=None,
            shutdown_timeout=_GRACE_S,
            handler_cancellation=True,
        )
        await runner.setup()
        try:
            host, port = split_address(settings.http_address)
            await web.TCPSite(runner, host, port).start()
            await discovery.start()
            log.info("serving Envoys on %s, state on %s", settings.grpc_address, settings.http_address)
            await sync.run(hub)
        finally:
            await discovery.stop(_GRACE_S)
            await runner.cleanup()


def _credentials(tls: TlsFiles | None) -> grpc.ServerCredentials | None:
    return None if tls is None else grpc_credentials(tls.cert, tls.key, tls.client_ca)
