"""Events (events.k8s.io/v1): what happened to an object, for people. Losing one changes nothing."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from prometheus_client import Counter

from pointsman.kube.errors import KubeError
from pointsman.kube.resources import EVENTS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock
    from pointsman.kube.client import KubeClient

log = logging.getLogger(__name__)

QUIET: Final = timedelta(minutes=10)
"""The same words about the same object are posted again only after this time."""
_REMEMBERED: Final = 4096
_WAITING: Final = 1000
"""Events that wait to be posted; beyond that they are dropped and counted."""
_LONGEST_NOTE: Final = 1024


class Recorder:
    """Posts events in the background, in order."""

    def __init__(
        self, client: KubeClient, registry: CollectorRegistry, clock: Clock, *, controller: str, instance: str
    ) -> None:
        """Take the controller's qualified name (`pointsman.dev/operator`) and which process this is."""
        self._client = client
        self._clock = clock
        self._controller = controller
        self._instance = instance[:128]
        self._recent: OrderedDict[tuple[str, ...], datetime] = OrderedDict()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING)
        self._posted = Counter(
            "pointsman_kube_events_total",
            "Events; outcome is posted, failed, or dropped (too many waited).",
            ["outcome"],
            registry=registry,
        )

    def record(
        self,
        regarding: dict[str, Any],
        *,
        kind: Literal["Normal", "Warning"],
        reason: str,
        action: str,
        note: str,
    ) -> None:
        """Post an event about an object (apiVersion, kind, name, namespace, uid) soon, unless just told."""
        now = self._clock()
        what = (str(regarding.get("uid")), kind, reason, action, note)
        event = {"type": kind, "reason": reason, "action": action, "note": _cut(note)}
        told = self._recent.get(what)
        if told is not None and now - told < QUIET:
            return
        self._recent[what] = now
        self._recent.move_to_end(what)
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        try:
            self._queue.put_nowait(self._event(regarding, now) | event)
        except asyncio.QueueFull:
            self._posted.labels("dropped").inc()

    def _event(self, regarding: dict[str, Any], now: datetime) -> dict[str, Any]:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{regarding['name'][:200]}.{uuid.uuid4().hex[:16]}",
                "namespace": regarding["namespace"],
            },
            "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "regarding": regarding,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
        }

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            await self._post(await self._queue.get())

    async def flush(self) -> None:
        """Post what waits (at the end)."""
        while not self._queue.empty():
            await self._post(self._queue.get_nowait())

    async def _post(self, event: dict[str, Any]) -> None:
        try:
            await self._client.create(EVENTS, event, event["metadata"]["namespace"])
        except KubeError as error:
            # an object that is gone takes its events along; anything else is worth a line, never a failure
            log.info("an event was not posted: %s", error)
            self._posted.labels("failed").inc()
        else:
            self._posted.labels("posted").inc()


def _cut(note: str) -> str:
    return note if len(note) <= _LONGEST_NOTE else note[: _LONGEST_NOTE - 1] + "…"
