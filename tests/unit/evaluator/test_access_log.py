"""The access log service at its end: Envoys are told in time, and what they sent is taken."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from evaluator_builders import entry
from pointsman.evaluator import access_log as access_log_module
from pointsman.evaluator.access_log import AccessLogService, serve_access_log
from pointsman.evaluator.metrics import ProcessMetrics
from pointsman.evaluator.record import AccessRecord
from pointsman.lab.process import free_port
from wait import until


def message(number: int) -> als_pb2.StreamAccessLogsMessage:
    """Return one entry as Envoy sends it, with who it is from."""
    made = als_pb2.StreamAccessLogsMessage()
    made.identifier.node.id, made.identifier.log_name = "envoy-1", "pointsman"
    made.http_logs.log_entry.append(entry({"policy": "chat/support"}, request_id=f"r-{number}"))
    return made


async def test_draining_takes_what_was_sent_and_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """First the health check fails; what comes meanwhile is taken, then the stream ends in order."""
    monkeypatch.setattr(access_log_module, "NOTICE_S", 0.1)
    taken: list[AccessRecord] = []
    service = AccessLogService(taken.append, ProcessMetrics(CollectorRegistry()))
    address = f"127.0.0.1:{free_port()}"
    server = await serve_access_log(service, address, None)
    async with grpc.aio.insecure_channel(address) as channel:
        asked = health_pb2_grpc.HealthStub(channel).Check
        serving = health_pb2.HealthCheckResponse.ServingStatus.Name
        assert serving((await asked(health_pb2.HealthCheckRequest())).status) == "SERVING"
        call = channel.stream_unary(
            f"/{access_log_module.SERVICE}/StreamAccessLogs",
            request_serializer=als_pb2.StreamAccessLogsMessage.SerializeToString,
            response_deserializer=als_pb2.StreamAccessLogsResponse.FromString,
        )()
        await call.write(message(1))
        await until(lambda: len(taken) == 1)
        draining = asyncio.create_task(service.drain())
        await asyncio.sleep(0)
        await call.write(message(2))
        await draining
        assert serving((await asked(health_pb2.HealthCheckRequest())).status) == "NOT_SERVING"
        assert await call.code() == grpc.StatusCode.OK
    await server.stop(0)
    assert [record.request_id for record in taken] == ["r-1", "r-2"]
