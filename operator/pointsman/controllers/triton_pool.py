"""Every Triton that a policy names: asked once a poll, told to load what is wanted, relieved of what is not.

Level-based: whatever a server lost (a restart, an emptied repository) is loaded again. Models are shared by
digest and counted by who wants them. Only models named `pm-…` are touched: a Triton belongs to one operator.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from pointsman.rollout.observation import Phase, Replica
from pointsman.triton.endpoint import Endpoint, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.controllers.artifacts import Artifacts
    from pointsman.rollout.observation import Source
    from pointsman.rollout.wants import Want
    from pointsman.triton.client import TritonClient
    from pointsman.triton.load_metrics import LoadMetrics

log = logging.getLogger(__name__)

REMEMBER_S: Final = 300.0
"""How long a server that nobody wants and that does not answer is still asked, to sweep it."""


class TritonPool:
    """Who wants which bundle where, and how far that is."""

    def __init__(
        self,
        client: TritonClient,
        artifacts: Artifacts,
        changed: Callable[[str], None],
        metrics: LoadMetrics,
        *,
        may_sweep: Callable[[], bool],
        settings: Settings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Take whom to tell which policy's replicas changed, and who knows whether all wants are declared."""
        self._client = client
        self._artifacts = artifacts
        self._changed = changed
        self._metrics = metrics
        self._may_sweep = may_sweep
        self._settings = settings or Settings()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._wants: dict[str, frozenset[Want]] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # -- what policies want ----------------------------------------------------------------------------------

    def declare(self, key: str, wants: frozenset[Want]) -> None:
        """Say what a policy wants loaded; replaces what it said before."""
        before = self._wants.get(key, frozenset())
        self._wants[key] = wants
        # first what is new: a bundle that is wanted in another way now is never unwanted in between
        for want in wants - before:
            self._endpoint(want.url).want(key, want)
        for want in before - wants:
            if want.url in self._endpoints:
                self._endpoints[want.url].unwant(key, want)

    def withdraw(self, key: str) -> None:
        """Say that a policy is gone."""
        self.declare(key, frozenset())
        del self._wants[key]

    def declared(self) -> frozenset[str]:
        """Return the policies that have said what they want."""
        return frozenset(self._wants)

    def replica(self, url: str, sha256: str) -> Replica:
        """Return what is known of a bundle on a server, at once."""
        endpoint = self._endpoints.get(url)
        return endpoint.replica(sha256) if endpoint else Replica(url, Phase.UNKNOWN)

    def fetched(self, source: Source) -> None:
        """Hear that a bundle can now be had: loads that waited for it need not wait longer."""
        for endpoint in self._endpoints.values():
            endpoint.retry(source.sha256)

    # -- one task a server -----------------------------------------------------------------------------------

    def _endpoint(self, url: str) -> Endpoint:
        if url not in self._endpoints:
            self._endpoints[url] = Endpoint(
                url,
                self._client,
                self._artifacts,
                self._metrics,
                self._settings,
                self._rng,
                may_sweep=self._may_sweep,
                changed=self._changed,
            )
            self._tasks[url] = asyncio.create_task(self._poll(url), name=f"triton {url}")
        return self._endpoints[url]

    async def _poll(self, url: str) -> None:
        """Ask one server again and again, until nobody wants it and it is swept (or long unreachable)."""
        endpoint = self._endpoints[url]
        loop = asyncio.get_running_loop()
        wanted_at = loop.time()
        while True:
            try:
                await endpoint.tick()
            except Exception:  # one server's trouble must not end its polling
                log.exception("polling %s failed", url)
            if endpoint.wanted:
                wanted_at = loop.time()
            elif endpoint.swept or (endpoint.unreachable and loop.time() - wanted_at > REMEMBER_S):
                break
            await endpoint.pause(self._settings.poll_s * (0.9 + 0.2 * self._rng.random()))
        # no pause from the decision to here: nobody can have wanted it anew meanwhile
        del self._endpoints[url], self._tasks[url]
        await endpoint.close()
        if url not in self._endpoints:
            await self._client.forget(url)

    async def close(self) -> None:
        """End all polling; nothing is unloaded."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for endpoint in self._endpoints.values():
            await endpoint.close()
