"""A sink for Envoy's access log over gRPC: keeps every entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from google.protobuf import json_format
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class AccessLogSink(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]  # gRPC has no types
    """Collects entries; `entry(request_id)` returns one with its `pointsman` metadata as plain values."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = grpc.aio.server()
        als_pb2_grpc.add_AccessLogServiceServicer_to_server(self, self._server)
        alive = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(alive, self._server)  # Envoy sends to nobody else
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()
        await alive.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop(0.2)

    async def StreamAccessLogs(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[Any],
        context: object,  # noqa: ARG002 - the signature is gRPC's
    ) -> als_pb2.StreamAccessLogsResponse:
        """Take entries in."""
        async for message in request_iterator:
            self.entries.extend(message.http_logs.log_entry)
        return als_pb2.StreamAccessLogsResponse()

    def entry(self, request_id: str) -> dict[str, Any] | None:
        """Return the metadata of one request's entry, with `_status`, `_cluster` and `_entry` beside it."""
        for entry in list(self.entries):
            if entry.request.request_id == request_id:
                metadata = entry.common_properties.metadata.filter_metadata
                known = json_format.MessageToDict(metadata["pointsman"]) if "pointsman" in metadata else {}
                return known | {
                    "_status": entry.response.response_code.value,
                    "_cluster": entry.common_properties.upstream_cluster,
                    "_entry": entry,
                }
        return None
