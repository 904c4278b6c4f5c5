"""Envoy's gRPC access log service: takes entries in, never waits, answers nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from pointsman.contract import ACCESS_LOG_NAME
from pointsman.evaluator.record import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.tls import TLSFiles

log = logging.getLogger(__name__)

MESSAGE_BYTES = 64 << 20
"""Envoy sends what it has buffered (8 MiB by default of our bootstrap) in one message."""


class AccessLogService(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]  # untyped base
    """Hands each finished request to `take`."""

    def __init__(self, take: Callable[[AccessRecord], object], metrics: ProcessMetrics) -> None:
        self._take = take
        self._metrics = metrics

    async def StreamAccessLogs(  # noqa: N802 - the protocol's name
        self,
        messages: AsyncIterator[als_pb2.StreamAccessLogsMessage],
        _context: grpc.aio.ServicerContext[object, object],
    ) -> als_pb2.StreamAccessLogsResponse:
        """Read one Envoy worker's stream to its end. Only its first message says whose it is."""
        node = log_name = ""
        with self._metrics.streams.track_inprogress():
            async for message in messages:
                if message.HasField("identifier"):
                    node, log_name = message.identifier.node.id, message.identifier.log_name
                if log_name != ACCESS_LOG_NAME:
                    self._metrics.ignored.inc(len(message.http_logs.log_entry))
                    continue
                for entry in message.http_logs.log_entry:
                    record = parse(entry, node)
                    if record is None:
                        self._metrics.ignored.inc()
                    else:
                        self._take(record)
        return als_pb2.StreamAccessLogsResponse()


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
    als_pb2_grpc.add_AccessLogServiceServicer_to_server(service, server)
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, tls.grpc_credentials())
    except RuntimeError as error:
        raise OSError(f"--access-log-address {address}: cannot listen; is it in use?") from error
    await server.start()
    return server
