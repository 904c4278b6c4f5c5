"""The gRPC face: Envoy's aggregated discovery service, delta variant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from pointsman.xds.delta import Incoming, Outgoing, ProtocolError
from pointsman.xds.hub import Hub, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pointsman.xds.gateway import Envoy, Gateway

log = logging.getLogger(__name__)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a reconnecting Envoy tells all versions it has
    ("grpc.max_send_message_length", -1),
    # A stream whose Envoy has vanished must not count as connected.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Envoy pings too.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake: say so
)


class DiscoveryService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc] # untyped
    """One call of `DeltaAggregatedResources` for each Envoy, as long as it lives."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def DeltaAggregatedResources(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> None:
        """Serve one Envoy."""
        first = await anext(requests, None)
        if first is None:
            return
        wake = asyncio.Event()
        try:
            gateway, envoy = self._hub.connect(first.node.cluster, first.node.id, wake.set)
        except Refused as error:
            log.warning("an Envoy is refused: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        log.info("envoy %s of gateway %s connected", envoy.node, gateway.name)
        reader = asyncio.create_task(_read(first, requests, gateway, envoy))
        reader.add_done_callback(lambda _: wake.set())
        try:
            while not reader.done():
                wake.clear()
                for response in gateway.pump(envoy):
                    await context.write(outgoing(response))
                due = envoy.stream.due
                pause = None if due is None else max(0.0, due - time.monotonic())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), pause)
            await reader
        except ProtocolError as error:
            log.warning("envoy %s of gateway %s: %s", envoy.node, gateway.name, error)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        finally:
            reader.cancel()
            self._hub.disconnect(gateway, envoy)
            log.info("envoy %s of gateway %s disconnected", envoy.node, gateway.name)


async def _read(first: Any, requests: AsyncIterator[Any], gateway: Gateway, envoy: Envoy) -> None:
    gateway.receive(envoy, incoming(first))
    async for request in requests:
        gateway.receive(envoy, incoming(request))


def incoming(request: Any) -> Incoming:
    """Return a protobuf request as the protocol takes it."""
    return Incoming(
        type_url=request.type_url,
        nonce=request.response_nonce,
        error=request.error_detail.message if request.HasField("error_detail") else None,
        subscribe=tuple(request.resource_names_subscribe),
        unsubscribe=tuple(request.resource_names_unsubscribe),
        initial=dict(request.initial_resource_versions),
    )


def outgoing(response: Outgoing) -> Any:
    """Return a response in protobuf."""
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=response.type_url,
        nonce=response.nonce,
        system_version_info=response.target,
        resources=[
            discovery_pb2.Resource(name=name, version=resource.version, resource=resource.body)
            for name, resource in response.resources
        ],
        removed_resources=response.removed,
    )


def server(hub: Hub, address: str, credentials: grpc.ServerCredentials | None = None) -> grpc.aio.Server:
    """Return a server bound to `host:port`, not yet started; OSError if the address is taken."""
    made = grpc.aio.server(options=_OPTIONS)
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(DiscoveryService(hub), made)
    try:
        bound = (
            made.add_insecure_port(address)
            if credentials is None
            else made.add_secure_port(address, credentials)
        )
    except RuntimeError as error:
        raise OSError(f"--grpc-address {address}: {error}") from None
    if bound == 0:
        raise OSError(f"--grpc-address {address} cannot be bound; choose a free one")
    return made
