"""One Triton server: what it serves, what it should serve, and the loads and sweeps under way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pointsman.backoff import Backoff
from pointsman.fetching import FetchError
from pointsman.rollout.observation import Phase, Replica
from pointsman.triton import bundle as bundles
from pointsman.triton import repository
from pointsman.triton.causes import refused_because
from pointsman.triton.client import TritonError, TritonUnreachableError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from pointsman.api.conditions import ClassifierReadyReason
    from pointsman.rollout.observation import Source
    from pointsman.rollout.wants import Want
    from pointsman.triton.client import TritonClient
    from pointsman.triton.load_metrics import LoadMetrics
    from pointsman.triton.repository import Probe

log = logging.getLogger(__name__)

_DEAD: Final = "is not healthy"
"""Triton of a model whose Python process is gone; it answers so until the model is unloaded."""
_OVERLOAD: Final = "queue"
MUTE: Final = 5
"""Checks in a row after which a model that refuses for whatever reason is loaded anew."""
BACKOFF: Final = Backoff(base_s=1.0, cap_s=60.0, jitter=0.2)


class Bundles(Protocol):
    """Where bundles come from."""

    async def content(self, source: Source) -> bytes:
        """Return the verified bundle; `FetchError`."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, and loads at a time on one server."""

    poll_s: float = 2.0
    grace_s: float = 60.0
    """How long a model that nobody wants stays, for an instant return."""
    parallel_loads: int = 2
    check_s: float = 5.0
    """How often each model is asked something: a model whose process died is listed as ready for ever."""
    instances: repository.Instances = repository.ON_CPU
    """How many of each model, and on what."""


@dataclass(slots=True)
class _Model:
    """A wanted bundle on this server."""

    wanted_by: dict[str, Want] = field(default_factory=dict)
    """By policy."""
    ready: bool = False
    since: float = 0.0
    """When it became ready (loop time)."""
    probed: bool = False
    lost: bool = False
    failure: str = ""
    note: str = ""
    cause: ClassifierReadyReason | None = None
    """Of the failure or note, where it is known."""
    failing_since: float | None = None
    """Since when it has not been ready, though it was tried (loop time)."""
    errors: int = 0
    retry_at: float = 0.0
    check_at: float = 0.0
    mute: int = 0
    """Checks in a row that it failed."""
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Prepared:
    """What a load needs, computed off the loop."""

    config: Mapping[str, object]
    files: Mapping[str, bytes]
    probe: Probe


@dataclass(slots=True)
class Endpoint:
    """A server by its URL. `tick` once a poll; the rest answers at once."""

    url: str
    client: TritonClient
    artifacts: Bundles
    metrics: LoadMetrics
    settings: Settings
    rng: random.Random
    may_sweep: Callable[[], bool]
    changed: Callable[[str], None]
    """Hears the key of each policy whose bundle changed its state here."""
    unreachable: str = ""
    swept: bool = False
    """Nothing of ours is left on the server."""
    _loaded: frozenset[str] | None = None
    _models: dict[str, _Model] = field(default_factory=dict)
    _unwanted: dict[str, float] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _slots: asyncio.Semaphore | None = None

    @property
    def wanted(self) -> bool:
        """Tell whether any policy wants anything here."""
        return bool(self._models)

    @property
    def answers(self) -> bool:
        """Tell whether the server answered when it was last asked."""
        return self._loaded is not None and not self.unreachable

    def want(self, key: str, want: Want) -> None:
        """Take note that a policy wants a bundle here."""
        model = self._models.setdefault(want.source.sha256, _Model())
        model.wanted_by[key] = want
        self.swept = False
        self._wake.set()

    def unwant(self, key: str, want: Want) -> None:
        """Take note that a policy wants a bundle here no more, if that is what it wanted last."""
        model = self._models.get(want.source.sha256)
        if model is None or model.wanted_by.get(key) != want:
            return
        del model.wanted_by[key]
        if not model.wanted_by:
            if model.task is not None:
                model.task.cancel()
            del self._models[want.source.sha256]

    def replica(self, sha256: str) -> Replica:
        """Return what is known of a bundle here."""
        model = self._models.get(sha256)
        if self.unreachable:
            return Replica(self.url, Phase.UNREACHABLE, self.unreachable)
        if model is None or self._loaded is None:
            return Replica(self.url, Phase.UNKNOWN)
        if model.ready:
            return Replica(self.url, Phase.READY)
        if model.failure:
            return Replica(self.url, Phase.FAILED, model.failure, model.cause)
        return Replica(self.url, Phase.LOST if model.lost else Phase.ABSENT, model.note)

    def cause(self, sha256: str) -> ClassifierReadyReason | None:
        """Return why a bundle is not ready here, where that is known."""
        model = self._models.get(sha256)
        return model.cause if model is not None else None

    def failing_s(self, sha256: str) -> float:
        """Return for how many seconds the attempts to load a bundle have failed; 0: none has."""
        model = self._models.get(sha256)
        if model is None or model.failing_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - model.failing_since

    def retry(self, sha256: str) -> None:
        """Try a load again now that waited for its bundle."""
        model = self._models.get(sha256)
        if model is not None and model.note:
            model.retry_at = 0.0
            self._wake.set()

    async def pause(self, seconds: float) -> None:
        """Wait for the next poll, or until something is wanted."""
        with suppress(TimeoutError):  # not wait_for: see queue.py
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def tick(self) -> None:
        """Ask the server for its models; start what is missing, sweep what is in excess."""
        before = self._phases()
        asked_at = asyncio.get_running_loop().time()
        try:
            self._loaded = await self.client.loaded(self.url)
        except TritonError as error:
            self.unreachable = str(error)
        else:
            if self.unreachable:  # it is back: what failed for its absence need not wait
                for model in self._models.values():
                    model.errors, model.retry_at = 0, 0.0
            self.unreachable = ""
            for sha, model in self._models.items():
                self._compare(sha, model, asked_at)
            await self._sweep(self._loaded)
        self._notify(before)

    async def close(self) -> None:
        """End the loads under way."""
        tasks = [model.task for model in self._models.values() if model.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- loading ---------------------------------------------------------------------------------------------

    def _compare(self, sha: str, model: _Model, asked_at: float) -> None:
        """Hold what the server had at `asked_at` against what it should have."""
        loaded = repository.model_name(sha) in (self._loaded or ())
        if loaded:
            if model.probed or any(want.proven for want in model.wanted_by.values()):
                self._is_ready(model)
                if model.task is None and asyncio.get_running_loop().time() >= model.check_at:
                    model.task = asyncio.create_task(self._check(sha, model), name=f"check {sha[:12]}")
                return
        elif model.ready and model.since >= asked_at:
            return  # loaded while the answer was under way
        elif model.ready:
            self._is_lost(sha, model)
        due = asyncio.get_running_loop().time() >= model.retry_at
        if model.task is None and due:
            job = self._load(sha, model, loaded=loaded)
            model.task = asyncio.create_task(job, name=f"load {sha[:12]} on {self.url}")

    @staticmethod
    def _is_ready(model: _Model) -> None:
        if not model.ready:
            model.since = asyncio.get_running_loop().time()
        model.ready, model.lost, model.failure, model.note, model.errors = True, False, "", "", 0
        model.cause, model.failing_since = None, None

    def _is_lost(self, sha: str, model: _Model) -> None:
        log.info("a Triton server lost a model", extra={"endpoint": self.url, "bundle": sha})
        self.metrics.losses.inc()
        model.ready, model.probed, model.lost, model.mute = False, False, True, 0

    async def _check(self, sha: str, model: _Model) -> None:
        """Ask a model that is listed as ready; one whose process died is unloaded, so as to be loaded."""
        before = self._phases()
        name = repository.model_name(sha)
        try:
            await self.client.classify(self.url, name, repository.PROBE_BODY)
            model.mute = 0
        except TritonUnreachableError:
            pass  # the next poll tells whether the server is there
        except TritonError as error:
            model.mute += 0 if _OVERLOAD in str(error) else 1
            if _DEAD in str(error) or model.mute >= MUTE:
                with suppress(TritonError):
                    await self.client.unload(self.url, name)
                    self._is_lost(sha, model)
                    self._wake.set()
        finally:
            model.check_at = asyncio.get_running_loop().time() + self.settings.check_s
            model.task = None
        self._notify(before)

    async def _load(self, sha: str, model: _Model, *, loaded: bool) -> None:
        """Load (unless it is `loaded`) and probe; note the outcome."""
        before = self._phases()
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.settings.parallel_loads)
        outcome = "ok"
        name = repository.model_name(sha)
        try:
            async with self._slots:
                prepared = await self._prepare(model)
                if not loaded:
                    await self.client.ensure(self.url, name, prepared.config, prepared.files)
                wrong = await self.client.probe(self.url, name, prepared.probe)
            if wrong is None:
                model.probed = True
                self._is_ready(model)
                log.info("loaded a bundle", extra={"endpoint": self.url, "bundle": sha})
            else:
                outcome, model.failure = "probe", f"its answer to the probe has {wrong}"
                model.cause = None
        except FetchError as error:
            outcome, model.note, model.cause = "fetch", error.message, error.reason
        except TritonUnreachableError as error:
            outcome, model.note, model.cause = "unreachable", f"loading failed: {error}", None
        except TritonError as error:
            outcome, model.failure, model.cause = "refused", str(error), refused_because(str(error))
        finally:
            model.task = None
        self.metrics.loads.labels(outcome).inc()
        if outcome != "ok":
            model.errors += 1
            if model.failing_since is None:
                model.failing_since = asyncio.get_running_loop().time()
            model.retry_at = asyncio.get_running_loop().time() + BACKOFF.delay(model.errors, self.rng)
        self._notify(before)

    async def _prepare(self, model: _Model) -> _Prepared:
        """Return what a load needs, from the first of the policies' sources that has the bundle."""
        wanted = {want.source for want in model.wanted_by.values()}
        sources = sorted(wanted, key=lambda source: (source.namespace, source.uri))
        failure: FetchError | None = None
        for source in sources:
            try:
                content = await self.artifacts.content(source)
            except FetchError as error:
                failure = error
                continue
            return await asyncio.to_thread(_prepare, content, self.settings.instances)
        raise failure or AssertionError("nobody wants it")

    # -- sweeping --------------------------------------------------------------------------------------------

    async def _sweep(self, loaded: frozenset[str]) -> None:
        """Unload models of ours that nobody has wanted for the grace time."""
        ours = {name for name in loaded if name.startswith(repository.MODEL_PREFIX)}
        unwanted = ours - {repository.model_name(sha) for sha in self._models}
        now = asyncio.get_running_loop().time()
        self._unwanted = {name: self._unwanted.get(name, now) for name in unwanted}
        self.swept = not ours
        if not self.may_sweep():
            return
        for name, since in self._unwanted.items():
            # asked anew at each: somebody may have wanted it while another was unloaded
            if now - since < self.settings.grace_s or self._wants_model(name):
                continue
            with suppress(TritonError):  # it is tried again at the next poll
                await self.client.unload(self.url, name)
                self.metrics.sweeps.inc()
                log.info("swept a model that nobody wants", extra={"endpoint": self.url, "model": name})

    def _wants_model(self, name: str) -> bool:
        return name.removeprefix(repository.MODEL_PREFIX) in self._models

    # -- telling ---------------------------------------------------------------------------------------------

    def _phases(self) -> dict[str, Replica]:
        return {sha: self.replica(sha) for sha in self._models}

    def _notify(self, before: Mapping[str, Replica]) -> None:
        now = self._phases()
        for sha, replica in now.items():
            if before.get(sha) != replica:
                for key in self._models[sha].wanted_by:
                    self.changed(key)


def _prepare(content: bytes, instances: repository.Instances) -> _Prepared:
    bundle = bundles.check(content)
    config = repository.load_config(bundle, instances)
    return _Prepared(config, repository.load_files(content), repository.probe(bundle))
