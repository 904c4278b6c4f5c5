"""Puts the evaluator together and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections import ChainMap
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from pointsman import install
from pointsman.address import split_address
from pointsman.clock import system_clock
from pointsman.evaluator.access_log import AccessLogService, serve_access_log
from pointsman.evaluator.bodies import Bodies
from pointsman.evaluator.capture import Captures, capture_app
from pointsman.evaluator.classify import Classifiers
from pointsman.evaluator.datasets import DEFAULT_KEY
from pointsman.evaluator.ends import remember
from pointsman.evaluator.envoy_admin import Losses
from pointsman.evaluator.envoys import Envoys, Target
from pointsman.evaluator.http_api import ERASER, Api
from pointsman.evaluator.intents import Intents
from pointsman.evaluator.membership import Solo
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.offpath import Needs, OffPath
from pointsman.evaluator.policies import Policies, follow
from pointsman.evaluator.rollouts import Rollouts
from pointsman.evaluator.rubrics import Library
from pointsman.evaluator.scoring import Scoring
from pointsman.evaluator.shelf import Shelf
from pointsman.evaluator.store import Store, StoreError
from pointsman.evaluator.store.address import Server
from pointsman.evaluator.store.replicas import ALONE, Replica, join
from pointsman.evaluator.sweeping import Keeping, sweep
from pointsman.evaluator.tls import server_context
from pointsman.evaluator.volume import Volume
from pointsman.evaluator.watermark import Watermark
from pointsman.evaluator.writer import Writer, micros
from pointsman.fetching import Fetcher
from pointsman.kube.client import KubeClient
from pointsman.kube.metrics import KubeMetrics

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from pointsman.api.v1alpha1.meta import SecretKeyRef
    from pointsman.clock import Clock
    from pointsman.evaluator.member import Member, Terms
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.tls import TLSFiles

    Follow = Callable[[Policies, CollectorRegistry], Awaitable[None]]
    """Keeps the policies current until cancelled."""

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. Addresses are `host:port`."""

    access_log_address: str
    capture_address: str
    http_address: str
    store: Address
    kubeconfig: str | None = None
    envoy_admin: tuple[str, ...] = ()
    tls: TLSFiles | None = None
    keeping: Keeping = field(default_factory=Keeping)
    poll_s: float = 5.0
    grace_s: float = 3.0
    allow_files: bool = False
    """Whether data sets may be `file:///…`."""
    replica: str = ""
    """This evaluator's name among those that share a database, the same after a restart; "": the host's."""
    terms: Terms | None = None
    """How long another replica is waited for; None: as `member` has it."""
    shadow_urls: Mapping[str, str] = field(default_factory=dict)
    """Base URLs of Envoys' shadow listeners, by gateway; "": of all others."""
    system_namespace: str | None = None
    """Where gateways lie: their Envoys are found and looked at, and candidates asked through them."""
    namespaces: tuple[str, ...] = ()
    """Whose policies are followed; empty: all."""
    erasers: tuple[str, ...] = (ERASER,)
    """DNS names in client certificates of who may have a session deleted."""


async def serve(
    settings: Settings, *, follow_policies: Follow | None = None, clock: Clock = system_clock
) -> None:
    """Run until SIGTERM or SIGINT; what was received by then is stored."""
    registry = _registry(settings)
    metrics = ProcessMetrics(registry)
    policies = Policies()
    member, replica = _membership(settings, registry, clock)
    store = await asyncio.to_thread(_opened, settings.store, replica)
    writer = Writer(store, policies, metrics, clock)
    writer.totals.trusted = lambda: member.trusted
    bodies = Bodies()
    captures = Captures(policies, writer.offer, writer.totals, clock, bodies)
    api = Api(writer, policies, settings.store, registry, clock, bodies=bodies, erasers=settings.erasers)
    stop = _stop_signal()
    try:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(store.close)
            writing = asyncio.create_task(writer.run())
            stack.push_async_callback(_finish, writer, writing)
            entries = AccessLogService(writer.offer, metrics)
            await _open_doors(stack, settings, entries, captures, api)
            kube = None
            if follow_policies is None or settings.system_namespace is not None:
                kube = await stack.enter_async_context(
                    await KubeClient.open(settings.kubeconfig, KubeMetrics(registry))
                )
                follow_policies = follow_policies or partial(_follow, kube, settings.namespaces)
            envoys = None
            if kube is not None and settings.system_namespace is not None:
                envoys = Envoys(kube, settings.system_namespace)
            urls = ChainMap(dict(settings.shadow_urls), envoys.shadow_urls if envoys else {})
            scoring, offpath = _scoring(
                stack, settings, urls, kube, writer, policies, bodies, registry, clock, member
            )
            registry.register(Watermark(scoring, policies, clock, member))
            work = [
                *_belonging(member, writer, scoring, bodies, clock),
                follow_policies(policies, registry),
                captures.run(),
                scoring.run(),
                offpath.run(),
                remember(policies, writer, member),
                _sweeping(settings, writer, policies, metrics, clock, member),
            ]
            work += _looking(settings, envoys, writer, metrics, clock, member)
            log.info(
                "evaluator serves",
                extra={"access_log": settings.access_log_address, "store": str(settings.store)},
            )
            await _until_stopped(stop, writing, work, entries.drain)
    finally:
        log.info("evaluator has stopped")


def _registry(settings: Settings) -> CollectorRegistry:
    """Return where metrics are kept, with those of the process and of the store's volume."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a second series
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if isinstance(settings.store, Path):
        registry.register(Volume(settings.store.parent))
    return registry


def _stop_signal() -> asyncio.Event:
    """Return an event that is set when we are told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _open_doors(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    entries: AccessLogService,
    captures: Captures,
    api: Api,
) -> None:
    """Take in what comes, until the stack closes."""
    await stack.enter_async_context(_access_log(entries, settings))
    context = server_context(settings.tls) if settings.tls else None
    # who may delete shows a certificate: without any there is no deletion but by the command
    posts = capture_app(captures, api.deletion() if context else ())
    await stack.enter_async_context(_http(posts, settings.capture_address, context))
    await stack.enter_async_context(_http(api.app(), settings.http_address, None))


def _membership(
    settings: Settings, registry: CollectorRegistry, clock: Clock
) -> tuple[Member | Solo, Replica]:
    """Return this evaluator's place: alone on its file, or one of those that share a database."""
    if not isinstance(settings.store, Server):
        return Solo(), ALONE
    from pointsman.evaluator.member import Member, MemberMetrics, Terms  # only who uses it needs the library

    replica = Replica(settings.replica or socket.gethostname())
    metrics, terms = MemberMetrics(registry), settings.terms or Terms()
    return Member(settings.store, replica, lambda: micros(clock), metrics, terms), replica


def _opened(place: Address, replica: Replica) -> Store:
    """Open the store; of a shared one, count in the replica's name from now on."""
    store = Store(place, replica=replica)
    try:
        if replica is not ALONE:
            join(store.db, replica)
    except BaseException:
        store.close()
        raise
    return store


def _belonging(
    member: Member | Solo, writer: Writer, scoring: Scoring, bodies: Bodies, clock: Clock
) -> list[Awaitable[None]]:
    """Return what keeps a replica one of several."""
    if isinstance(member, Solo):
        return []

    def unscored_us() -> int:
        now_us = micros(clock)
        return now_us - min(scoring.scored_until_us(now_us).values(), default=now_us)

    member.unscored_us = unscored_us
    member.on_forgotten = bodies.clear
    return [member.run(writer)]


async def _until_stopped(
    stop: asyncio.Event,
    writing: asyncio.Task[None],
    work: list[Awaitable[None]],
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Wait for the signal, then drain; an error of any part ends the whole (whoever runs us starts it)."""
    tasks = [asyncio.ensure_future(part) for part in work]
    stopped = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([*tasks, writing, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        await drain()
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)


def _looking(  # noqa: PLR0917 - one caller, which puts everything together
    settings: Settings,
    envoys: Envoys | None,
    writer: Writer,
    metrics: ProcessMetrics,
    clock: Clock,
    member: Membership,
) -> list[Awaitable[None]]:
    """Return what looks at Envoys: at those that are named, and at those that are found."""
    named = tuple(Target(url) for url in settings.envoy_admin)
    if not named and envoys is None:
        return []
    losses = Losses(
        writer,
        lambda: (*named, *(envoys.targets if envoys else ())),
        metrics,
        clock,
        every_s=settings.poll_s,
        grace_s=settings.grace_s,
        member=member,
    )
    if envoys is None:
        return [losses.run()]
    envoys.on_change(losses.moved)
    return [losses.run(), envoys.run()]


async def _follow(
    kube: KubeClient, namespaces: tuple[str, ...], policies: Policies, _: CollectorRegistry
) -> None:
    await follow(policies, kube, namespaces)


def _scoring(  # noqa: PLR0917 - one caller, which puts everything together
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    urls: Mapping[str, str],
    kube: KubeClient | None,
    writer: Writer,
    policies: Policies,
    bodies: Bodies,
    registry: CollectorRegistry,
    clock: Clock,
    member: Membership,
) -> tuple[Scoring, OffPath]:
    """Put scoring, shadow and gate together; what they open is closed with the stack."""
    fetch = Fetcher(kube, process="evaluator", default_key=DEFAULT_KEY, allow_files=settings.allow_files)
    stack.push_async_callback(fetch.close)
    library = Library(fetch, partial(_key, kube), registry)
    library.judges.sharers = lambda: len(member.live)
    stack.push_async_callback(library.close)
    classifiers = Classifiers(registry)
    stack.push_async_callback(classifiers.close)
    system_namespace = settings.system_namespace or install.SYSTEM_NAMESPACE
    intents = Intents(policies, Rollouts(policies, system_namespace), classifiers, registry)
    shelf = Shelf(policies, library)
    scoring = Scoring(
        writer, policies, shelf.scorers, intents, bodies=bodies, registry=registry, member=member
    )
    needs = Needs(
        urls=urls,
        tls=settings.tls,
        policies=policies,
        classifiers=classifiers,
        library=library,
        scorers=shelf.scorers,
        take=writer.offer,
        behind_s=lambda: writer.behind_s,
        store=settings.store,
        registry=registry,
        clock=clock,
        system_namespace=system_namespace,
        member=member,
    )
    offpath = OffPath(needs)
    scoring.on_scored.append(offpath.offer)
    return scoring, offpath


async def _key(kube: KubeClient | None, namespace: str, ref: SecretKeyRef) -> str:
    """Return one key of a Secret; KeyError if it lacks it, `KubeError` if it cannot be read."""
    if kube is None:
        raise KeyError(ref.key)
    return (await kube.secret(ref.name, namespace))[ref.key].decode().strip()


async def _finish(writer: Writer, writing: asyncio.Task[None]) -> None:
    writer.stop()
    await writing


@contextlib.asynccontextmanager
async def _access_log(service: AccessLogService, settings: Settings) -> AsyncIterator[None]:
    server = await serve_access_log(service, settings.access_log_address, settings.tls)
    try:
        yield
    finally:
        await server.stop(STOP_GRACE_S)


@contextlib.asynccontextmanager
async def _http(app: web.Application, address: str, context: ssl.SSLContext | None) -> AsyncIterator[None]:
    host, port = split_address(address)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


async def _sweeping(  # noqa: PLR0917 - one caller, which puts everything together
    settings: Settings,
    writer: Writer,
    policies: Policies,
    metrics: ProcessMetrics,
    clock: Clock,
    member: Membership,
) -> None:
    while True:
        try:
            await sweep(writer, policies, settings.keeping, metrics, clock, member)
        except StoreError as error:
            log.warning("cannot delete what has been kept long enough, will try again: %s", error)
        await asyncio.sleep(settings.keeping.sweep_every_s)
