"""The operator as a process: leads or stands by; wires events, queue, reconciles and background tasks."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Gauge

from pointsman.clock import Clock, system_clock
from pointsman.controllers import http, watching
from pointsman.controllers.artifacts import ArtifactMetrics, Artifacts
from pointsman.controllers.bundles import BundleService, Lists, follow
from pointsman.controllers.evidence import INTERVAL_S, EvidenceMetrics, EvidenceReader
from pointsman.controllers.infrastructure import Infrastructure
from pointsman.controllers.infrastructure import Settings as InfrastructureSettings
from pointsman.controllers.queue import WorkQueue
from pointsman.controllers.reconciler import ReconcileMetrics, Reconciler, tell_failure
from pointsman.controllers.store import Store
from pointsman.controllers.triton_pool import TritonPool
from pointsman.controllers.tritons import Tritons
from pointsman.controllers.xds_watch import XdsWatch
from pointsman.fetching import Fetcher
from pointsman.kube.client import KubeClient
from pointsman.kube.events import Recorder
from pointsman.kube.lease import Election, Terms
from pointsman.kube.metrics import KubeMetrics
from pointsman.rollout.observation import Bundle
from pointsman.tls_files import TLSFiles
from pointsman.triton import bundle as bundles
from pointsman.triton.client import TritonClient, TritonMetrics
from pointsman.triton.endpoint import Settings as TritonSettings
from pointsman.triton.load_metrics import LoadMetrics

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

log = logging.getLogger(__name__)

STOPPED: Final = 0
BROKEN: Final = 1
"""A part that must run for ever ended."""
CERTIFICATE_S: Final = 1.0
"""Between looks for our own certificate, which a leader makes."""
LOST_LEASE: Final = 3
"""Another process leads, or may soon: this one ends, so that it does nothing more by halves."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator is told at its start."""

    lease: Terms
    kubeconfig: str | None = None
    xds_urls: tuple[str, ...] = ()
    xds_service: str | None = None
    """A Service in `system_namespace`, whose replicas are all asked."""
    system_namespace: str | None = None
    infrastructure: InfrastructureSettings | None = None
    """What is run for RoutingGateways and TritonPools; None: nothing is."""
    http_address: str | None = None
    bundles_address: str | None = None
    """Where the agents of managed Tritons get lists and bundles; needs `system_namespace` and `tls`."""
    tls: TLSFiles | None = None
    namespaces: tuple[str, ...] = ()
    """Empty: all of them."""
    allow_file_artifacts: bool = False
    triton: TritonSettings = field(default_factory=TritonSettings)
    workers: int = 8
    evidence_interval_s: float = INTERVAL_S
    """Between looks at Prometheus while a rollout is under way."""
    https_trust: ssl.SSLContext | bool = True


class Controllers:
    """Everything that a leader runs. `run` until cancelled; raises if a part ends by itself."""

    def __init__(
        self,
        client: KubeClient,
        settings: Settings,
        registry: CollectorRegistry,
        clock: Clock = system_clock,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_act`: whether this process leads still; what cannot be fenced by `client` asks it."""
        self.client = client
        self.settings = settings
        self.store = Store()
        self.metrics = ReconcileMetrics(registry, clock)
        self.queue = WorkQueue(workers=settings.workers, on_error=tell_failure)
        Gauge(
            "pointsman_operator_queue_depth", "Keys that are due and wait for a worker.", registry=registry
        ).set_function(self._depth)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.watching = False
        """Whether everything was read and changes are followed."""
        self.fetcher = Fetcher(client, allow_files=settings.allow_file_artifacts, verify=settings.https_trust)
        self.artifacts = Artifacts(self.fetcher, _describe, self._fetched, ArtifactMetrics(registry))
        self.triton = TritonClient(TritonMetrics(registry))
        self.pool = self._tritons(registry, may_act)
        self.xds = self._xds_watch(registry)
        self.evidence = EvidenceReader(
            self.queue.add, EvidenceMetrics(registry), clock, interval_s=settings.evidence_interval_s
        )
        identity = settings.lease.identity
        self.recorder = Recorder(
            client, registry, clock, controller="pointsman.dev/operator", instance=identity
        )
        self.reconciler = Reconciler(
            client=client,
            store=self.store,
            artifacts=self.artifacts,
            pool=self.pool,
            xds=self.xds,
            reader=self.evidence,
            recorder=self.recorder,
            clock=clock,
            metrics=self.metrics,
            enqueue=self.queue.add,
        )
        self.infrastructure = self._infrastructure(registry, clock)

    def _tritons(self, registry: CollectorRegistry, may_act: Callable[[], bool]) -> Tritons:
        """Return the Tritons that policies name, and those that we run."""
        external = TritonPool(
            self.triton,
            self.artifacts,
            self.queue.add,
            LoadMetrics(registry),
            may_sweep=lambda: may_act() and self._all_declared(),
            settings=self.settings.triton,
        )
        managed = self.settings.infrastructure is not None
        return Tritons(external, self.queue.add, registry, managed=managed)

    def _xds_watch(self, registry: CollectorRegistry) -> XdsWatch:
        """Return what asks the xds servers: those that are named, and each replica of the Service."""
        settings = self.settings
        found = XdsWatch(settings.xds_urls, self.queue.add, self.enqueue_all, registry)
        if settings.xds_service is not None and settings.system_namespace is not None:
            found.discover(self.client, settings.system_namespace, settings.xds_service)
        return found

    def _infrastructure(self, registry: CollectorRegistry, clock: Clock) -> Infrastructure | None:
        """Return what runs gateways and pools; None where we shall not."""
        if self.settings.infrastructure is None:
            return None
        return Infrastructure(
            self.client,
            self.settings.infrastructure,
            recorder=self.recorder,
            registry=registry,
            clock=clock,
            store=self.store,
            tritons=self.pool,
            complete=self._all_declared,
        )

    def _all_declared(self) -> bool:
        """Tell whether every policy has said which models it wants: nobody wants the others."""
        return self.store.synced and self.store.policy_keys() <= self.pool.declared()

    def _depth(self) -> float:
        return float(self.queue.depth()) if self._loop is not None else 0.0

    def enqueue_all(self) -> None:
        """Have every policy looked at."""
        for key in self.store.all_keys():
            self.queue.add(key)

    def _fetched(self, source: Any) -> None:
        """More is known of a bundle: whoever names it looks again."""
        self.pool.fetched(source)
        for key in self.store.policy_keys():
            stored = self.store.policy(key)
            classifier = stored.policy.spec.strategy.classifier if stored and stored.policy else None
            if classifier is not None and classifier.artifact.sha256 == source.sha256:
                self.queue.add(key)

    async def run(self, on_watching: Callable[[], None] = lambda: None) -> None:
        """Read everything, then watch and reconcile until cancelled. `on_watching`: once Kopf runs."""
        self._loop = asyncio.get_running_loop()
        namespaces = self.settings.namespaces
        await watching.first_sync(self.client, self.store, namespaces)
        self.enqueue_all()
        stop, ready = asyncio.Event(), asyncio.Event()
        async with AsyncExitStack() as stack:
            # ended in reverse: no new work, loads and fetches, watching, then the doors
            for close in (self.fetcher.close, self.triton.close, self.recorder.flush):
                stack.push_async_callback(close)
            background = [
                asyncio.create_task(self.recorder.run(), name="events"),
                asyncio.create_task(self.xds.run(), name="xds"),
                asyncio.create_task(
                    watching.keep_synced(self.client, self.store, namespaces, self.queue.add), name="resync"
                ),
                asyncio.create_task(self.queue.run(self.reconciler), name="queue"),
            ]
            if self.infrastructure is not None:
                background.append(asyncio.create_task(self.infrastructure.run(), name="infrastructure"))
            kopf = asyncio.create_task(
                watching.watch(self.client, self.store, namespaces, self.queue.add, ready=ready, stop=stop),
                name="kopf",
            )
            stack.push_async_callback(_stop_kopf, kopf, stop)
            for close in (self.artifacts.close, self.pool.close, self.evidence.close):
                stack.push_async_callback(close)
            stack.push_async_callback(_cancel, background)
            waiting = asyncio.create_task(ready.wait(), name="kopf is ready")
            await asyncio.wait([*background, kopf, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            on_watching()
            self.watching = True
            done, _ = await asyncio.wait([*background, kopf], return_when=asyncio.FIRST_COMPLETED)
            ended = next(iter(done))
            raise PartEndedError(ended.get_name()) from ended.exception()


class PartEndedError(RuntimeError):
    """A part that must run for ever ended."""


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _stop_kopf(kopf: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Stop Kopf; it would wait for every younger task of the loop (an open scrape, say), we do not."""
    stop.set()
    await asyncio.wait([kopf], timeout=1.0)
    await _cancel([kopf])


def _describe(content: bytes) -> Bundle:
    found = bundles.check(content)
    return Bundle(found.tiers, found.intents)


async def run(settings: Settings, stop: asyncio.Event | None = None) -> int:
    """Run the operator until `stop`, SIGTERM or SIGINT; return the exit code."""
    stop = stop or asyncio.Event()
    registry = CollectorRegistry()
    leader = Gauge("pointsman_operator_leader", "1 while this process leads.", registry=registry)
    leader.set(0)
    async with AsyncExitStack() as stack:
        client = await KubeClient.open(settings.kubeconfig, KubeMetrics(registry))
        stack.push_async_callback(client.close)
        election = Election(client, settings.lease)
        controllers = Controllers(
            client.fenced(election.may_write_s), settings, registry, may_act=election.may_act
        )
        if settings.http_address is not None:
            runner = await http.serve(
                settings.http_address,
                registry,
                lambda: _readiness(election, controllers),
                controllers.metrics.rollouts.render,
            )
            stack.push_async_callback(runner.cleanup)
        if settings.bundles_address is not None and settings.system_namespace is not None:
            serving = asyncio.create_task(_serve_bundles(client, settings, controllers, registry))
            stack.push_async_callback(_cancel, [serving])
        _on_signal(stop)
        competing = asyncio.create_task(election.run(), name="election")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        won = asyncio.create_task(election.leading.wait(), name="won")
        await asyncio.wait([competing, stopping, won], return_when=asyncio.FIRST_COMPLETED)
        won.cancel()
        code = STOPPED
        if election.leading.is_set() and not stop.is_set():
            leader.set(1)
            code = await _lead(controllers, competing, stopping, stop)
        elif competing.done() and not stop.is_set():
            log.error("the election ended", exc_info=competing.exception())
            code = BROKEN
        await _cancel([competing, stopping])
        if code != LOST_LEASE or election.went_back:
            await election.release()  # nobody else leads: whoever stands by need not wait
        return code


async def _serve_bundles(
    client: KubeClient, settings: Settings, controllers: Controllers, registry: CollectorRegistry
) -> None:
    """Serve agents, leading or standing by; our own certificate may come after us."""
    if settings.bundles_address is None or settings.system_namespace is None or settings.tls is None:
        return
    lists = Lists()
    service = BundleService(lists, controllers.artifacts.content, registry)
    runner = None
    while runner is None:
        try:
            if settings.tls.there():
                runner = await service.serve(settings.bundles_address, settings.tls)
        except OSError as error:  # a half-written file, too
            log.warning("bundles are not served yet: %s", error)
        await asyncio.sleep(CERTIFICATE_S)
    try:
        await follow(client, settings.system_namespace, lists).run()
    finally:
        await runner.cleanup()


async def _lead(
    controllers: Controllers,
    competing: asyncio.Task[None],
    stopping: asyncio.Task[Any],
    stop: asyncio.Event,
) -> int:
    # Kopf takes the signals over when it starts, and would end before our own work has
    work = asyncio.create_task(controllers.run(lambda: _on_signal(stop)), name="controllers")
    await asyncio.wait([work, competing, stopping], return_when=asyncio.FIRST_COMPLETED)
    code = STOPPED
    if work.done():
        log.error("the operator cannot go on", exc_info=work.exception())
        code = BROKEN
    elif competing.done():
        log.error("lost the Lease; ending, so that only one acts and nothing is decided on what is void")
        code = LOST_LEASE
    await _cancel([work])
    return code


def _on_signal(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(RuntimeError, ValueError, NotImplementedError):  # not in the main thread: a test
            loop.add_signal_handler(number, stop.set)


def _readiness(election: Election, controllers: Controllers) -> tuple[bool, str]:
    """Say whether to count on this process; a follower that stands by is as it should be."""
    if election.leading.is_set():
        return controllers.watching, "leading" if controllers.watching else "leading, reading the cluster"
    return election.standing_by, "standing by" if election.standing_by else "has not seen the Lease yet"
