"""The agents of managed Tritons: each pod's is asked at short intervals what its Triton holds."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from pointsman import install
from pointsman.pools import state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pointsman.pools.state import AgentState

log = logging.getLogger(__name__)

DEADLINE_S: Final = 3.0
POLL_S: Final = 2.0
SILENT: Final = 3
"""Looks in a row without an answer after which an agent counts as silent: one lost packet is none."""


class Agents:
    """One poll a pod. `follow` says which pods there are; the rest answers at once."""

    def __init__(
        self,
        changed: Callable[[str], None],
        registry: CollectorRegistry,
        *,
        poll_s: float = POLL_S,
        port: int = install.AGENT_HTTP,
    ) -> None:
        """Take who hears the name of each pod of which something else is known."""
        self._changed = changed
        self._poll_s = poll_s
        self._port = port
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self.states: dict[str, AgentState] = {}
        self.silent: dict[str, str] = {}
        self._asked = Counter(
            "pointsman_operator_agent_looks_total",
            "Looks at the agents of managed Tritons; outcome is ok or silent.",
            ["outcome"],
            registry=registry,
        )

    def follow(self, pods: Mapping[str, str]) -> None:
        """Take which pods there are, and their addresses."""
        wanted = {(name, ip) for name, ip in pods.items() if ip}
        for key in wanted - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._poll(*key), name=f"agent of {key[0]}")
        for key in self._tasks.keys() - wanted:
            self._tasks.pop(key).cancel()
            if all(name != key[0] for name, _ in wanted):
                self.states.pop(key[0], None)
                self.silent.pop(key[0], None)

    async def close(self) -> None:
        """End all polling."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _poll(self, pod: str, ip: str) -> None:
        silences = 0
        while True:
            before = self.states.get(pod), self.silent.get(pod)
            try:
                self.states[pod] = await self._ask(ip)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                silences += 1
                self._asked.labels("silent").inc()
                if silences >= SILENT:
                    self.states.pop(pod, None)
                    self.silent[pod] = _words(error)
            else:
                silences = 0
                self._asked.labels("ok").inc()
                self.silent.pop(pod, None)
            if (self.states.get(pod), self.silent.get(pod)) != before:
                self._changed(pod)
            await asyncio.sleep(self._poll_s * (0.9 + 0.2 * random.random()))  # noqa: S311 - jitter

    async def _ask(self, ip: str) -> AgentState:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S))
        host = f"[{ip}]" if ":" in ip else ip
        async with self._session.get(f"http://{host}:{self._port}/v1/state") as response:
            response.raise_for_status()
            return state.parse(await response.json())


def _words(error: Exception) -> str:
    return f"no answer within {DEADLINE_S:g} s" if isinstance(error, TimeoutError) else str(error)[:200]
