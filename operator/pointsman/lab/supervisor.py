"""Keeps the parts of a lab running: starts them in order, restarts what dies, says what happened."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from pointsman.lab.process import Child, LabError, Server, ended, tail

_HEALTH_S: Final = 1.0
_STARTING_S: Final = 0.1
_HOPELESS: Final = 3
"""A part that dies this often before the lab was ever up will not get better by itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """A server of the lab and when to start it."""

    server: Server
    after: tuple[str, ...] = ()
    """Parts that must be ready, and their `then` done, before this one starts for the first time."""
    then: Callable[[], None] | None = None
    """Done once, in a thread, when the part is ready for the first time."""
    last: bool = False
    """Ended after all the others: they may need it to end well."""

    @property
    def name(self) -> str:
        """Name in status, log file and commands."""
        return self.server.spec.name


class Backoff:
    """Seconds before a dead part is started again: 0, 1, 2, 4 … 30, and 0 again after a healthy minute."""

    MOST_S: Final = 30.0
    FORGET_S: Final = 60.0

    def __init__(self) -> None:
        self._next = 0.0

    def after(self, healthy_s: float) -> float:
        """Return the wait after a run that was healthy for so long."""
        if healthy_s >= self.FORGET_S:
            self._next = 0.0
        wait = self._next
        self._next = min(max(1.0, wait * 2), self.MOST_S)
        return wait


class Keeper:
    """Keeps one part running."""

    def __init__(self, part: Part, supervisor: Supervisor) -> None:
        self.part = part
        self.healthy = False
        self.restarts = 0
        self.settled = asyncio.Event()
        """Was ready once, and `then` is done."""
        self._supervisor = supervisor
        self._restart = asyncio.Event()
        self._healthy_since: float | None = None

    def status(self) -> dict[str, Any]:
        """Return the part's entry in the lab's status."""
        child = self.part.server.child
        return {
            "pid": None if child is None else child.pid,
            "address": self.part.server.spec.address,
            "healthy": self.healthy,
            "restarts": self.restarts,
        }

    def restart(self) -> None:
        """End the part and start it again at once; also ends a wait between two starts."""
        self._restart.set()

    async def keep(self) -> None:
        """Start the part when its time has come, and again whenever it ends, until cancelled."""
        for name in self.part.after:
            await self._supervisor.keepers[name].settled.wait()
        backoff = Backoff()
        while True:
            wait = await self._run_once(backoff)
            self.restarts += 1
            try:
                async with asyncio.timeout(wait):
                    await self._restart.wait()
            except TimeoutError:
                pass
            self._restart.clear()

    async def _run_once(self, backoff: Backoff) -> float:
        """Run the part until it ends; return the seconds to wait before the next start."""
        child = self.part.server.start()
        self._healthy_since = None
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (_gone(child), self._restart.wait(), self._watch(child))
        ]
        try:
            # Of the three only the watch never ends by itself, except by failing.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self.healthy = False
        healthy_s = 0.0 if self._healthy_since is None else time.monotonic() - self._healthy_since
        if self._restart.is_set():
            await asyncio.to_thread(child.stop)
            self.part.server.child = None
            self._supervisor.say(f"{self.part.name}: restarting, as asked")
            return 0.0
        return self._bury(child, backoff.after(healthy_s))

    def _bury(self, child: Child, wait: float) -> float:
        """Say how the part ended; `LabError` if it never came up."""
        code = child.kill()
        self.part.server.child = None
        end = tail(child.spec.log, lines=5)
        if not self._supervisor.up.is_set() and self.restarts + 1 >= _HOPELESS:
            raise LabError(f"{self.part.name} {ended(code)} {_HOPELESS} times while the lab started; {end}")
        self._supervisor.say(f"{self.part.name}: {ended(code)}, starting again in {wait:.0f} s; {end}")
        return wait

    async def _watch(self, child: Child) -> None:
        while True:
            healthy = await self._supervisor.in_thread(child.spec.ready)
            if healthy and not self.healthy:
                self._healthy_since = time.monotonic()
                await self._settle(child)
            elif self.healthy and not healthy:
                self._supervisor.say(f"{self.part.name}: gives no answer")
            self.healthy = healthy
            await asyncio.sleep(_HEALTH_S if healthy else _STARTING_S)

    async def _settle(self, child: Child) -> None:
        if not self.settled.is_set():
            if self.part.then is not None:
                await self._supervisor.in_thread(self.part.then)
            self.settled.set()
        self._supervisor.say(f"{self.part.name}: ready at {child.spec.address}, pid {child.pid}")


class Supervisor:
    """Runs a set of parts. For the main thread's loop: children die with the thread that started them."""

    def __init__(self, parts: Sequence[Part], say: Callable[[str], None]) -> None:
        self.say = say
        self.up = asyncio.Event()
        """Every part was ready once."""
        self.keepers = {part.name: Keeper(part, self) for part in parts}
        self._threads = ThreadPoolExecutor(max_workers=2 * len(parts), thread_name_prefix="lab")

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Run a blocking call beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return every part's status by name."""
        return {name: keeper.status() for name, keeper in self.keepers.items()}

    async def run(self, stop: asyncio.Event, deadline_s: float) -> None:
        """Run everything until `stop`, leave nothing running. `LabError` if not up within `deadline_s`."""
        keeping = [asyncio.create_task(keeper.keep(), name=name) for name, keeper in self.keepers.items()]
        rising = asyncio.create_task(self._rise(deadline_s), name="rise")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        pending = {*keeping, rising, stopping}
        try:
            while not stop.is_set():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (*keeping, rising, stopping):
                task.cancel()
            await asyncio.gather(*keeping, rising, stopping, return_exceptions=True)
            await self._end()

    async def _rise(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                for keeper in self.keepers.values():
                    await keeper.settled.wait()
        except TimeoutError:
            late = [keeper for keeper in self.keepers.values() if not keeper.settled.is_set()]
            waiting = {name: keeper for name, keeper in self.keepers.items() if keeper in late}
            blamed = [k for k in late if not any(name in waiting for name in k.part.after)]
            ends = "\n".join(f"{k.part.name}: {tail(k.part.server.spec.log)}" for k in blamed)
            raise LabError(f"the lab is not up after {deadline_s:.0f} s; still waited for:\n{ends}") from None
        self.up.set()

    async def _end(self) -> None:
        """End all parts: first those that may need the `last` ones to end well."""
        for last in (False, True):
            servers = [keeper.part.server for keeper in self.keepers.values() if keeper.part.last is last]
            await asyncio.gather(*(self.in_thread(server.stop) for server in servers))
        self._threads.shutdown()


async def _gone(child: Child) -> None:
    """Wait until the process has ended, without polling."""
    descriptor = os.pidfd_open(child.pid)
    ended_ = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended_.set)
    try:
        await ended_.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
