"""Envoy's gRPC access log service: takes entries in, never waits, answers nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import grpc
from envoy.service.accesslog.v3 import als_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pointsman.contract import ACCESS_LOG_NAME
from pointsman.evaluator.record import parse
from pointsman.evaluator.wire import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.tls import TLSFiles
    from pointsman.evaluator.wire import Message

SERVICE: Final = als_pb2.DESCRIPTOR.services_by_name["AccessLogService"].full_name
MESSAGE_BYTES: Final = 64 << 20
"""Envoy sends what it has buffered (8 MiB by default of our bootstrap) in one message."""
NOTICE_S: Final = 1.2
"""How soon an Envoy knows that we are going: it asks every half second."""
QUIET_S: Final = 0.4
"""A stream on which nothing came for so long carries nothing: Envoys send every 200 ms what they have."""
DRAIN_S: Final = 1.0


class AccessLogService:
    """Hands each finished request to `take`."""

    def __init__(self, take: Callable[[AccessRecord], object], metrics: ProcessMetrics) -> None:
        self._take = take
        self._metrics = metrics
        self._draining = asyncio.Event()
        self._streams = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.health = health.aio.HealthServicer()
        """By it Envoys know whether to send, or to keep what they have."""

    async def drain(self) -> None:
        """Let Envoys know that we are going, then end their streams between two messages: nothing is lost."""
        await self.health.enter_graceful_shutdown()
        if self._streams:
            await asyncio.sleep(NOTICE_S)
        self._draining.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._idle.wait()

    async def stream_access_logs(
        self, messages: AsyncIterator[Message], _context: grpc.aio.ServicerContext[object, object]
    ) -> als_pb2.StreamAccessLogsResponse:
        """Read one Envoy worker's stream to its end. Only its first message says whose it is."""
        node = log_name = ""
        self._streams += 1
        self._idle.clear()
        try:
            with self._metrics.streams.track_inprogress():
                async for message in self._until_drained(messages):
                    if message.identifier is not None:
                        node, log_name = message.identifier.node.id, message.identifier.log_name
                    self._read(message, node, log_name)
        finally:
            self._streams -= 1
            if not self._streams:
                self._idle.set()
        return als_pb2.StreamAccessLogsResponse()

    async def _until_drained(self, messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
        """Yield messages; when draining, at most one more: right after it no other is under way."""
        iterator = aiter(messages)
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(iterator, None))
                await asyncio.wait((coming, draining), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    await asyncio.wait((coming,), timeout=QUIET_S)
                if not coming.done():
                    coming.cancel()
                    return
                message = coming.result()
                if message is None:
                    return
                yield message
                if self._draining.is_set():
                    return
        finally:
            draining.cancel()

    def _read(self, message: Message, node: str, log_name: str) -> None:
        self._metrics.ignored.inc(message.unreadable)
        if log_name != ACCESS_LOG_NAME:
            self._metrics.ignored.inc(len(message.entries))
            return
        for entry in message.entries:
            record = parse(entry, node)
            if record is None:
                self._metrics.ignored.inc()
            else:
                self._take(record)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service for a server."""
        method = grpc.stream_unary_rpc_method_handler(
            self.stream_access_logs,
            request_deserializer=decode,
            response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": method})


async def serve_access_log(service: AccessLogService, address: str, tls: TLSFiles | None) -> grpc.aio.Server:
    """Bind and start; OSError names the address that cannot be had."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # a second evaluator on one port must fail, not share it
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ]
    )
    server.add_generic_rpc_handlers((service.handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(service.health, server)
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, tls.grpc_credentials())
    except RuntimeError as error:
        raise OSError(f"--access-log-address {address}: cannot listen; is it in use?") from error
    await service.health.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    return server
