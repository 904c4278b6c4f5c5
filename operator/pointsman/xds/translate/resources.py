"""Small things that every resource needs: type URLs, `Any`, durations, addresses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from envoy.config.core.v3 import address_pb2, config_source_pb2
from google.protobuf import any_pb2, duration_pb2, json_format, struct_pb2, wrappers_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name


def any_of(message: Message) -> any_pb2.Any:
    """Pack a message; deterministic, so that equal configuration is equal bytes."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return a plain value as protobuf's `Struct`."""
    return json_format.ParseDict(dict(value), struct_pb2.Struct())


def json_string(text: str) -> str:
    """Return text as a JSON string, quotes included."""
    return json.dumps(text, ensure_ascii=False)


def ms(milliseconds: int) -> duration_pb2.Duration:
    """Return a duration."""
    return duration_pb2.Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def seconds(value: float) -> duration_pb2.Duration:
    """Return a duration."""
    return ms(round(value * 1000))


def uint(value: int) -> wrappers_pb2.UInt32Value:
    """Return a number that may be absent."""
    return wrappers_pb2.UInt32Value(value=value)


def true() -> wrappers_pb2.BoolValue:
    """Return a true that may be absent."""
    return wrappers_pb2.BoolValue(value=True)


def ads() -> config_source_pb2.ConfigSource:
    """Return the source of everything dynamic: the one ADS stream."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        # An absent secret must hold up its own tier, and only for a moment.
        initial_fetch_timeout=seconds(5),
    )


def socket_address(host: str, port: int) -> address_pb2.Address:
    """Return a TCP address."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))
