"""Keeps one Triton as the list says: loads, heals, sweeps, and says whether it may be asked."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge

from pointsman.agent import gate
from pointsman.agent.gate import Needed, Verdict
from pointsman.pools.models import ModelList
from pointsman.pools.state import AgentState, HeldModel
from pointsman.rollout.observation import Phase, Source
from pointsman.rollout.wants import Want
from pointsman.triton.endpoint import Endpoint, Settings
from pointsman.triton.load_metrics import LoadMetrics

if TYPE_CHECKING:
    from pointsman.agent.cache import BundleCache
    from pointsman.pools.models import Model
    from pointsman.triton.client import TritonClient

log = logging.getLogger(__name__)

_KEY: Final = "pool"
"""Under which the agent wants models: it knows no policies."""


class KeeperMetrics:
    """What is held, and whether it may be asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = LoadMetrics(registry, "pointsman_agent")
        self.ready = Gauge("pointsman_agent_ready", "1 while requests may be sent here.", registry=registry)
        self.models = Gauge(
            "pointsman_agent_models", "Models of the list, by phase.", ["phase"], registry=registry
        )


class Keeper:
    """`run` until cancelled; `want` says what shall be held; `state` answers at once."""

    def __init__(
        self,
        url: str,
        client: TritonClient,
        cache: BundleCache,
        metrics: KeeperMetrics,
        *,
        settings: Settings,
        patience_s: float = gate.PATIENCE_S,
    ) -> None:
        self._cache = cache
        self._metrics = metrics
        self._settings = settings
        self._patience_s = patience_s
        self._list: ModelList | None = None
        self._wants: dict[str, Want] = {}
        self._open = False
        self.stopping = False
        self._endpoint = Endpoint(
            url,
            client,
            cache,
            metrics.loads,
            settings,
            random.Random(),  # noqa: S311 - jitter
            may_sweep=lambda: self._list is not None,
            changed=lambda _: None,
        )

    def want(self, wanted: ModelList) -> None:
        """Take a list; what traffic needs is loaded first."""
        before = self._wants
        self._list = wanted
        ordered = sorted(wanted.models, key=lambda model: (not model.traffic, not model.proven))
        self._wants = {model.sha256: self._want_of(model) for model in ordered}
        for want in self._wants.values():
            self._endpoint.want(_KEY, want)
        for sha256, want in before.items():
            if sha256 not in self._wants:
                self._endpoint.unwant(_KEY, want)
        self._cache.keep(frozenset(self._wants))

    def _want_of(self, model: Model) -> Want:
        # by digest it is the same bundle wherever it comes from, so a changed source changes nothing here
        source = Source("", "", model.sha256)
        return Want(self._endpoint.url, source, proven=model.proven, traffic=model.traffic)

    async def run(self) -> None:
        """Look at Triton again and again."""
        try:
            while True:
                try:
                    await self._endpoint.tick()
                except Exception:  # the next look may succeed; until then nothing is promised
                    log.exception("looking at Triton failed")
                self._judge()
                await self._endpoint.pause(self._settings.poll_s)
        finally:
            await self._endpoint.close()

    def verdict(self) -> Verdict:
        """Return whether requests may be sent here, and why (not)."""
        if self.stopping:
            return Verdict(ready=False, why="is ending")
        return self._judge()

    def state(self) -> AgentState:
        """Return what is known."""
        judged = self.verdict()
        version = self._list.version if self._list is not None else ""
        held = tuple(self._held(sha256) for sha256 in sorted(self._wants))
        return AgentState(version, judged.ready, judged.why, held)

    def _held(self, sha256: str) -> HeldModel:
        replica = self._endpoint.replica(sha256)
        cause = self._endpoint.cause(sha256) if replica.phase != Phase.READY else None
        return HeldModel(sha256, replica.phase, replica.message, cause)

    def _judge(self) -> Verdict:
        needed = [
            Needed(sha256, held.phase, held.message, self._endpoint.failing_s(sha256))
            for sha256, want in self._wants.items()
            if want.traffic
            for held in (self._held(sha256),)
        ]
        judged = gate.verdict(
            needed,
            read=self._list is not None,
            answers=self._endpoint.answers,
            was_open=self._open,
            patience_s=self._patience_s,
        )
        if judged.ready != self._open:
            log.info("ready" if judged.ready else "not ready", extra={"why": judged.why})
        self._open = judged.ready
        self._metrics.ready.set(1 if judged.ready and not self.stopping else 0)
        phases = [self._endpoint.replica(sha256).phase for sha256 in self._wants]
        for phase in Phase:
            self._metrics.models.labels(phase.value).set(phases.count(phase))
        return judged
