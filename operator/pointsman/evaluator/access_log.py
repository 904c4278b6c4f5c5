"""Envoy's gRPC access log service: takes entries in, never waits, answers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from envoy.service.accesslog.v3 import als_pb2

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


class AccessLogService:
    """Hands each finished request to `take`."""

    def __init__(self, take: Callable[[AccessRecord], object], metrics: ProcessMetrics) -> None:
        self._take = take
        self._metrics = metrics

    async def stream_access_logs(
        self, messages: AsyncIterator[Message], _context: grpc.aio.ServicerContext[object, object]
    ) -> als_pb2.StreamAccessLogsResponse:
        """Read one Envoy worker's stream to its end. Only its first message says whose it is."""
        node = log_name = ""
        with self._metrics.streams.track_inprogress():
            async for message in messages:
                if message.identifier is not None:
                    node, log_name = message.identifier.node.id, message.identifier.log_name
                self._metrics.ignored.inc(message.unreadable)
                if log_name != ACCESS_LOG_NAME:
                    self._metrics.ignored.inc(len(message.entries))
                    continue
                for entry in message.entries:
                    record = parse(entry, node)
                    if record is None:
                        self._metrics.ignored.inc()
                    else:
                        self._take(record)
        return als_pb2.StreamAccessLogsResponse()

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
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, tls.grpc_credentials())
    except RuntimeError as error:
        raise OSError(f"--access-log-address {address}: cannot listen; is it in use?") from error
    await server.start()
    return server
