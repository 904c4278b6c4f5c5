"""Every Triton that policies name: servers of somebody else, and our pools, asked by way of their agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.controllers.triton_agents import Agents
from pointsman.pools.held import held
from pointsman.pools.models import collect
from pointsman.pools.place import pool_of, pool_place
from pointsman.rollout.observation import Phase, Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pointsman.controllers.triton_pool import TritonPool
    from pointsman.pools.held import PoolView
    from pointsman.pools.models import Model
    from pointsman.rollout.observation import Source
    from pointsman.rollout.wants import Want


class Tritons:
    """Who wants which bundle where, and how far that is. Answers at once."""

    def __init__(
        self,
        external: TritonPool,
        changed: Callable[[str], None],
        registry: CollectorRegistry,
        *,
        managed: bool,
    ) -> None:
        """Take who hears the key of each policy whose pool changed, and whether pools are looked after."""
        self._external = external
        self._changed = changed
        self._managed = managed
        self._wants: dict[str, frozenset[Want]] = {}
        self._views: dict[str, PoolView] = {}
        self.look: Callable[[str], None] = lambda _: None
        """Hears the name of each pool that must be looked at: other wants, or news of a pod of it."""
        self.agents = Agents(self._heard, registry)

    # -- what policies want ----------------------------------------------------------------------------------

    def declare(self, key: str, wants: frozenset[Want]) -> None:
        """Say what a policy wants loaded; replaces what it said before."""
        pooled = frozenset(want for want in wants if pool_of(want.url) is not None)
        self._external.declare(key, wants - pooled)
        before = self._wants.get(key, frozenset())
        self._wants[key] = pooled
        for pool in sorted({pool_of(want.url) or "" for want in before ^ pooled}):
            self.look(pool)

    def withdraw(self, key: str) -> None:
        """Say that a policy is gone."""
        self.declare(key, frozenset())
        self._external.withdraw(key)
        del self._wants[key]

    def declared(self) -> frozenset[str]:
        """Return the policies that have said what they want."""
        return self._external.declared()

    def fetched(self, source: Source) -> None:
        """Hear that a bundle can now be had."""
        self._external.fetched(source)

    # -- how it is -------------------------------------------------------------------------------------------

    def replica(self, url: str, sha256: str) -> Replica:
        """Return what is known of a bundle on a server of somebody else."""
        return self._external.replica(url, sha256)

    def pooled(self, pool: str, source: Source) -> Replica:
        """Return what is known of a bundle on a pool as a whole."""
        if not self._managed:
            words = "this operator manages no Tritons, as it runs without --system-namespace"
            return Replica(pool_place(pool), Phase.FAILED, words, ClassifierReadyReason.POOL_NOT_FOUND)
        view = self._views.get(pool)
        if view is None:
            return Replica(pool_place(pool), Phase.UNKNOWN, "it has not been looked at yet")
        return held(view, source.sha256, source.namespace)

    # -- for the controller of pools -------------------------------------------------------------------------

    def pools(self) -> frozenset[str]:
        """Return the pools on which policies want anything."""
        return frozenset(pool_of(want.url) or "" for wants in self._wants.values() for want in wants)

    def policies(self, pool: str) -> list[str]:
        """Return the keys of the policies that want something on a pool."""
        place = pool_place(pool)
        return sorted(key for key, wants in self._wants.items() if any(want.url == place for want in wants))

    def models(self, pool: str, refused: frozenset[str]) -> tuple[Model, ...]:
        """Return what the policies want on a pool, but for those of namespaces that may not use it."""
        wants = (found for key, found in self._wants.items() if key.partition("/")[0] not in refused)
        return collect(wants, pool)

    def show(self, view: PoolView) -> None:
        """Take how a pool is, and tell the policies for whose models it is another than before."""
        before, place = self._views.get(view.name), pool_place(view.name)
        self._views[view.name] = view
        if before == view:
            return
        for key, wants in self._wants.items():
            sources = [want.source for want in wants if want.url == place]
            if any(_differs(before, view, source) for source in sources):
                self._changed(key)

    def _heard(self, pod: str) -> None:
        for view in self._views.values():
            if any(known.name == pod for known in view.pods):
                self.look(view.name)

    async def close(self) -> None:
        """End all polling; nothing is unloaded."""
        await self.agents.close()
        await self._external.close()


def _differs(before: PoolView | None, now: PoolView, source: Source) -> bool:
    if before is None:
        return True
    old, new = (held(view, source.sha256, source.namespace) for view in (before, now))
    return old != new
