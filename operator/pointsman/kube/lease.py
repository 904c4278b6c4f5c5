"""Leader election by a Lease. Who loses it must end its process.

A leader acts until `renew_s` after it *sent* its last renewal that succeeded; a follower takes over no sooner
than `duration_s` after it *saw* that renewal. Both go by their own monotonic clock, so no two act at a time
as long as clocks run equally fast, also where a process was frozen or cut off. What was on its way meanwhile
is held off by resourceVersions.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pointsman.clock import system_clock
from pointsman.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from pointsman.kube.resources import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.kube.client import KubeClient, Object

log = logging.getLogger(__name__)

CALL_S: Final = 5.0
"""Longest deadline of one read or write of the Lease."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who competes for which Lease. Seconds: `duration_s` > `renew_s` > 2 × `retry_s`."""

    namespace: str
    name: str
    identity: str
    duration_s: int = 10
    """A follower takes over this long after the last sign of life that it saw."""
    renew_s: float = 6.5
    """A leader that could not renew for this long stops acting: before another can take over."""
    retry_s: float = 1.3
    """Between renewals, and between a follower's looks."""

    @property
    def call_s(self) -> float:
        """Deadline of one read or write of the Lease: within `renew_s` there is time for another."""
        return min(CALL_S, self.renew_s / 2)

    @classmethod
    def of(cls, namespace: str, name: str, identity: str, duration_s: float) -> Terms:
        """Return the terms for a Lease of this duration, 3 s at least."""
        duration = max(3, round(duration_s))
        # often enough that a few renewals may fail, and that nobody waits long after a failed look
        retry_s = min(2.0, max(0.5, duration / 7.5))
        return cls(namespace, name, identity, duration, duration * 2 / 3, retry_s)


class LostError(Exception):
    """Another process holds the Lease, or the API server has forgotten that we do."""


class Election:
    """One candidate. `leading` is set when it won; `run` returns when it lost."""

    def __init__(
        self, client: KubeClient, terms: Terms, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._terms = terms
        self._monotonic = monotonic
        self._lease: Object | None = None
        self._seen_at = 0.0
        self._renewed_at = float("-inf")
        self._written = ""
        """The last renewTime of ours that the API server took."""
        self._led_by_another = False
        self._told = ""
        self.leading = asyncio.Event()
        self.went_back = False
        """Whether the API server came back with an older state than we wrote: etcd was restored."""

    @property
    def holder(self) -> str:
        """Who was last seen to hold the Lease; empty: nobody, or not known."""
        return str(self._spec.get("holderIdentity") or "")

    @property
    def standing_by(self) -> bool:
        """Tell whether somebody else is known to lead."""
        return not self.leading.is_set() and bool(self.holder)

    def may_act(self) -> bool:
        """Tell whether this process may begin something now: it leads, and no other can."""
        return self.leading.is_set() and self._monotonic() < self._renewed_at + self._terms.renew_s

    def may_write_s(self) -> float:
        """Return for how long what begins now may be under way, in seconds; 0: it must not begin."""
        if not self.may_act():
            return 0.0
        return max(0.0, self._renewed_at + self._terms.duration_s - self._monotonic())

    async def run(self) -> None:
        """Wait for the Lease, lead, and return once it is lost."""
        try:
            await self._acquire()
            log.info("leading", extra={"lease": f"{self._terms.namespace}/{self._terms.name}"})
            self.leading.set()
            await self._keep()
        finally:
            self.leading.clear()

    async def release(self) -> None:
        """Give the Lease back, so that a follower need not wait. Call after `run` was cancelled."""
        with suppress(KubeError, TimeoutError):
            async with asyncio.timeout(CALL_S):
                lease = await self._client.get(LEASES, self._terms.name, self._terms.namespace)
                if lease["spec"].get("holderIdentity") == self._terms.identity:
                    lease["spec"]["holderIdentity"] = None
                    # with its resourceVersion: never over another's
                    await self._client.replace(LEASES, lease)

    # -- following -------------------------------------------------------------------------------------------

    async def _acquire(self) -> None:
        """Return once the Lease is ours."""
        while True:
            try:
                async with asyncio.timeout(self._terms.call_s):
                    await self._look()
                    if self._wait_s() <= 0:
                        await self._take()
                        return
            except (KubeError, TimeoutError) as error:
                self._failed(error)
                pause = self._terms.retry_s
            else:
                pause = min(self._terms.retry_s, max(0.0, self._wait_s()))
            # later, never sooner, and not all followers at once
            await asyncio.sleep(pause * random.uniform(1.0, 1.1))  # noqa: S311 - jitter

    async def _look(self) -> None:
        """Read the Lease; whatever is new in it is a sign of life."""
        try:
            found = await self._client.get(LEASES, self._terms.name, self._terms.namespace)
        except NotFound:
            self._lease = None
            return
        self._see(found)

    def _wait_s(self) -> float:
        """Return the seconds until the Lease may be taken."""
        # Our own name is that of a run before us; but once another was seen to lead, an older state has come
        # back, and that one may lead still.
        if not self.holder or (self.holder == self._terms.identity and not self._led_by_another):
            return 0.0
        # what its holder promised counts, not what we would
        promised = float(self._spec.get("leaseDurationSeconds") or self._terms.duration_s)
        return self._seen_at + promised - self._monotonic()

    def _see(self, lease: Object) -> None:
        if self._lease is None or _version(lease) != _version(self._lease):
            self._seen_at = self._monotonic()
        self._lease, self._told = lease, ""
        self._led_by_another |= self.holder not in {"", self._terms.identity}

    # -- leading ---------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew until another holds the Lease, or until it could not be renewed for too long."""
        while self.may_act():
            await asyncio.sleep(min(self._terms.retry_s, max(0.0, self._left_s())))
            try:
                async with asyncio.timeout(min(self._terms.call_s, max(0.0, self._left_s()))):
                    await self._renew()
            except LostError as error:
                log.warning("%s", error)
                return
            except (KubeError, TimeoutError) as error:
                self._failed(error)

    def _left_s(self) -> float:
        return self._renewed_at + self._terms.renew_s - self._monotonic()

    async def _renew(self) -> None:
        """Write a sign of life over the last one; `LostError` if it is not ours that is there."""
        try:
            await self._take()
        except (Conflict, NotFound):
            # an answer that was lost, somebody's label, another leader, or an older state
            await self._look()
            if self._is_older():
                self.went_back = True
                words = "the API server has an older state than we wrote: all that we know of it is void"
                raise LostError(words) from None
            if self.holder != self._terms.identity:
                raise LostError(f"{self.holder} holds the Lease now") from None
            await self._take()

    def _is_older(self) -> bool:
        """Tell whether the Lease that is there is from before our last renewal."""
        if self._lease is None:
            return True  # nobody deletes a Lease: it was made after the snapshot
        if self.holder != self._terms.identity:
            return False
        renewed = str(self._spec.get("renewTime") or "")
        return not renewed or datetime.fromisoformat(renewed) < datetime.fromisoformat(self._written)

    async def _take(self) -> None:
        """Write ourselves into the Lease, on the version that we know. `KubeError`."""
        sent_at, now = self._monotonic(), system_clock().isoformat(timespec="microseconds")
        known = self._spec
        ours = known.get("holderIdentity") == self._terms.identity
        spec = known | {
            "holderIdentity": self._terms.identity,
            "leaseDurationSeconds": self._terms.duration_s,
            "acquireTime": known.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": int(known.get("leaseTransitions") or 0) + (0 if ours or not known else 1),
        }
        if self._lease is None:
            body = {"metadata": {"name": self._terms.name}, "spec": spec}
            try:
                written = await self._client.create(LEASES, body, self._terms.namespace)
            except AlreadyExists as error:
                raise Conflict("create the Lease", error.status, error.reason, error.message) from error
        else:
            written = await self._client.replace(LEASES, self._lease | {"spec": spec})
        self._see(written)
        self._renewed_at, self._written = sent_at, now

    @property
    def _spec(self) -> dict[str, Any]:
        return dict((self._lease or {}).get("spec") or {})

    def _failed(self, error: Exception) -> None:
        """Log a failure once, not at every attempt."""
        words = f"{type(error).__name__}: {error}"
        if words != self._told:
            log.info("the Lease could not be written or read: %s", words)
            self._told = words


def _version(lease: Object) -> str:
    return str(lease["metadata"].get("resourceVersion", ""))
