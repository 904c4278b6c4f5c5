"""Clients, Envoy and its access log, as far as one policy's evaluator can tell: real entries over gRPC."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import grpc
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from evaluator_builders import entry
from pointsman.clock import system_clock
from pointsman.contract import ACCESS_LOG_NAME, Key
from rollout_kit import Feeder

EVERY_S = 0.2
REQUESTS = 80
"""In each of these moments."""
SESSIONS = 500


class EntryFeeder:
    """Serves what the policy's status says, and tells the evaluator at `address`, which may come and go."""

    def __init__(self, policy: Feeder, address: str) -> None:
        self._policy = policy
        self._address = address
        self._node = f"envoy-{policy.cluster.namespace}"
        self._number = 0
        self._waiting: deque[HTTPAccessLogEntry] = deque()
        self.serving = True
        """Whether clients still send requests."""

    async def serve(self) -> None:
        """Serve until cancelled."""
        while True:
            if self.serving:
                self._waiting += self._moment()
            await asyncio.sleep(EVERY_S)

    async def deliver(self) -> None:
        """Deliver until cancelled: what was handed over is not sent again, as with Envoy."""
        while True:
            async with grpc.aio.insecure_channel(self._address) as channel:
                stub = als_pb2_grpc.AccessLogServiceStub(channel)
                try:
                    await asyncio.wait_for(channel.channel_ready(), 2)
                    await stub.StreamAccessLogs(self._messages())
                except (grpc.aio.AioRpcError, TimeoutError):
                    await asyncio.sleep(0.1)

    @property
    def delivered(self) -> bool:
        """Tell whether nothing waits."""
        return not self._waiting

    async def _messages(self) -> AsyncIterator[als_pb2.StreamAccessLogsMessage]:
        first = als_pb2.StreamAccessLogsMessage()
        first.identifier.node.id, first.identifier.log_name = self._node, ACCESS_LOG_NAME
        yield first
        while True:
            if self._waiting:
                message = als_pb2.StreamAccessLogsMessage()
                message.http_logs.log_entry.extend(self._waiting)
                self._waiting.clear()
                yield message
            await asyncio.sleep(EVERY_S / 2)

    def _moment(self) -> list[HTTPAccessLogEntry]:
        """Return the requests of one moment, shared out as the traffic in force is."""
        status = self._policy.status
        shares = status.get("traffic") or [{"revision": "always-strong", "weightPermille": 1000}]
        return [
            self._request(share["revision"])
            for share in shares
            for _ in range(REQUESTS * share["weightPermille"] // 1000)
        ]

    def _request(self, revision: str) -> HTTPAccessLogEntry:
        """Return the entry of a request: 19 of 20 are answered, of a broken revision none."""
        self._number += 1
        good = self._number % 20 != 0 and revision not in self._policy.broken
        made = entry(
            {
                Key.POLICY.value: f"{self._policy.cluster.namespace}/support",
                Key.REVISION.value: revision,
                Key.TIER.value: "strong",
                Key.SERVED_TIER.value: "strong",
                Key.REASON.value: "pinned",
                Key.ROLLOUT.value: self._arm(revision),
            },
            request_id=f"{self._node}-{self._number}",
            session=f"session-{self._number % SESSIONS}",
            status=200 if good else 500,
        )
        made.common_properties.start_time.FromDatetime(system_clock())
        made.common_properties.duration.FromMilliseconds(1)
        return made

    def _arm(self, revision: str) -> str:
        rollout = self._policy.status.get("rollout") or {}
        if not rollout or "endedAt" in rollout:
            return ""
        arm = {rollout["incumbent"]: "i", rollout["candidate"]: "c"}.get(revision)
        return f"{rollout['id']}/{rollout['steps'][-1]['index']}/{arm}" if arm else ""
