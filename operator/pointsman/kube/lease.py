"""Leader election by a Lease, on `kubernetes.aio.leaderelection`. Who loses it must end its process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes.aio.client import ApiException, V1Lease, V1LeaseSpec, V1ObjectMeta
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from pointsman.clock import system_clock
from pointsman.kube.errors import KubeError
from pointsman.kube.resources import LEASES

if TYPE_CHECKING:
    from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

    from pointsman.kube.client import KubeClient

log = logging.getLogger(__name__)

CALL_S = 5.0
"""Deadline of one read or write of the Lease; the election itself repeats them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who competes for which Lease. Seconds: `duration_s` > `renew_s` > 1.2 × `retry_s`."""

    namespace: str
    name: str
    identity: str
    duration_s: int = 15
    """A follower takes over this long after the last sign of life."""
    renew_s: float = 10.0
    """A leader that could not renew for this long gives up: before another can take over."""
    retry_s: float = 2.0


class _Lock(LeaseLock):  # type: ignore[misc] # the library has no type information
    """The library's Lease lock, with deadlines, and with lost connections as failures to be repeated."""

    duration_s: int

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """Return (True, record) or (False, ApiException)."""
        try:
            async with asyncio.timeout(CALL_S):
                found: tuple[bool, Any] = await super().get(name, namespace)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return False, ApiException(status=0, reason=type(error).__name__)
        return found

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Create the Lease (the library's own asks for `pretty=True`, which its client refuses)."""
        lease = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._try(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Replace the Lease; False if somebody else was faster."""
        return await self._try(super().update(name, namespace, updated_record))

    @staticmethod
    async def _try(call: Any) -> bool:
        try:
            async with asyncio.timeout(CALL_S):
                return bool(await call)
        except (ApiException, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("the Lease could not be written: %s", type(error).__name__)
            return False

    def update_lease(self, leader_election_record: LeaderElectionRecord, current_spec: Any = None) -> Any:
        """Return the Lease's spec, times in UTC (the library writes local time and calls it UTC)."""
        spec = current_spec or V1LeaseSpec()
        now = system_clock().isoformat(timespec="microseconds")
        if spec.holder_identity != leader_election_record.holder_identity:
            spec.acquire_time = now
            spec.lease_transitions = (spec.lease_transitions or 0) + (1 if current_spec else 0)
        else:
            spec.acquire_time = _iso(spec.acquire_time) or now
        spec.holder_identity = leader_election_record.holder_identity
        spec.lease_duration_seconds = self.duration_s
        spec.renew_time = now
        return spec


def _iso(moment: Any) -> str | None:
    """Return a time read from the API as it is written there: always six digits of a second."""
    return moment.isoformat(timespec="microseconds") if isinstance(moment, datetime) else moment


class Election:
    """One candidate. `leading` is set when it won; `run` returns when it lost."""

    def __init__(self, client: KubeClient, terms: Terms) -> None:
        self._client = client
        self._terms = terms
        self.leading = asyncio.Event()
        lock = _Lock(terms.name, terms.namespace, terms.identity, client.api)
        lock.duration_s = terms.duration_s
        self._election = LeaderElection(
            Config(
                lock,
                lease_duration=terms.duration_s,
                renew_deadline=terms.renew_s,
                retry_period=terms.retry_s,
                onstarted_leading=self._won,
                onstopped_leading=None,
            )
        )

    async def run(self) -> None:
        """Wait for the Lease, lead, and return once it is lost."""
        try:
            await self._election.run()
        finally:
            self.leading.clear()

    @property
    def standing_by(self) -> bool:
        """Tell whether somebody else is known to lead."""
        record = self._election.observed_record
        return not self.leading.is_set() and record is not None and record.holder_identity is not None

    async def _won(self) -> None:
        log.info("leading", extra={"lease": f"{self._terms.namespace}/{self._terms.name}"})
        self.leading.set()

    async def release(self) -> None:
        """Give the Lease back, so that a follower need not wait. Call after `run` was cancelled."""
        with suppress(KubeError):
            lease = await self._client.get(LEASES, self._terms.name, self._terms.namespace)
            if lease["spec"].get("holderIdentity") == self._terms.identity:
                lease["spec"]["holderIdentity"] = None
                await self._client.replace(LEASES, lease)  # with its resourceVersion: never over another's
