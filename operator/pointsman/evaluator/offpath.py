"""Puts shadow and gate together: what asks models off the path, through Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman import install
from pointsman.evaluator.gate.run import GateRuns, Kit
from pointsman.evaluator.membership import Solo
from pointsman.evaluator.rollouts import Rollouts
from pointsman.evaluator.shadow import history
from pointsman.evaluator.shadow.budget import HOUR_S
from pointsman.evaluator.shadow.replay import Replayer, ReplayMetrics
from pointsman.evaluator.shadow.service import Shadow
from pointsman.evaluator.shadow.spending import Spending
from pointsman.evaluator.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock
    from pointsman.evaluator.cases import CaseItem, ScoredRequest
    from pointsman.evaluator.classify import Classifiers
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.rubrics import Library
    from pointsman.evaluator.rubrics.types import Scorer
    from pointsman.evaluator.store.address import Address
    from pointsman.evaluator.tls import TLSFiles

SHARE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What it works with, all of the process's own."""

    urls: Mapping[str, str]
    """Base URLs of Envoys' shadow listeners, by gateway; "": of all others. May change while it works. A
    rollout of a gateway that has none gets no gate and no shadow."""
    tls: TLSFiles | None
    """The certificate to show where a URL is https://."""
    policies: Policies
    classifiers: Classifiers
    library: Library
    scorers: Callable[[str], Sequence[Scorer]]
    """Of a policy's rubrics as they are now."""
    take: Callable[[CaseItem], object]
    """The writer's queue."""
    behind_s: Callable[[], float]
    """Age of the oldest item in it; infinite while the store takes nothing."""
    store: Address
    registry: CollectorRegistry
    clock: Clock
    system_namespace: str = install.SYSTEM_NAMESPACE
    """Where the pools of managed Tritons lie."""
    member: Membership = field(default_factory=Solo)


class OffPath:
    """Shadow replays and gate runs. `offer` takes each scored request and never waits."""

    def __init__(self, needs: Needs) -> None:
        store, member = needs.store, needs.member
        rollouts = Rollouts(needs.policies, needs.system_namespace)
        spending = Spending(
            needs.policies,
            needs.clock,
            lambda policy, since: history.spent(store, policy, since, member.name),
        )
        spending.sharers = lambda: len(member.live)
        self._store, self._member, self._spending, self._clock = store, member, spending, needs.clock
        self._replayer = Replayer(needs.urls, ReplayMetrics(needs.registry), needs.tls)
        self._shadow = Shadow(
            policies=needs.policies,
            rollouts=rollouts,
            classifiers=needs.classifiers,
            replayer=self._replayer,
            scorers=needs.scorers,
            take=needs.take,
            behind_s=needs.behind_s,
            spending=spending,
            registry=needs.registry,
        )
        self._gates = GateRuns(
            Kit(
                policies=needs.policies,
                rollouts=rollouts,
                classifiers=needs.classifiers,
                replayer=self._replayer,
                library=needs.library,
                spending=spending,
                take=needs.take,
                done=lambda policy, rollout: history.cases_done(store, policy, rollout),
                leads=lambda: member.leads,
                behind_s=needs.behind_s,
            )
        )

    def offer(self, scored: ScoredRequest) -> None:
        """Take a request whose scores are stored."""
        self._shadow.offer(scored)

    @property
    def gates_running(self) -> int:
        """Number of gate runs under way."""
        return self._gates.running

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._shadow.run())
                group.create_task(self._gates.run())
                if self._member.shared:
                    group.create_task(self._sharing())
        finally:
            await self._replayer.close()

    async def _sharing(self) -> None:
        """Learn what the other replicas spend of the same budgets."""
        while True:
            since = self._clock().timestamp() - HOUR_S
            with contextlib.suppress(StoreError):  # the last word stands
                self._spending.elsewhere = await asyncio.to_thread(
                    history.spent_by_others, self._store, since, self._member.name
                )
            await asyncio.sleep(SHARE_S)


def shadow_urls(values: Sequence[str]) -> dict[str, str]:
    """Read `--shadow-url` values, `URL` or `GATEWAY=URL`; ValueError names the one that is neither."""
    urls: dict[str, str] = {}
    for value in values:
        gateway, _, url = value.rpartition("=") if not value.startswith("http") else ("", "", value)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{value}: must be https://HOST:PORT, or GATEWAY=https://HOST:PORT")
        if gateway in urls:
            raise ValueError(f"{value}: gateway {gateway or '(all others)'} has a URL already; give one each")
        urls[gateway] = url
    return urls
