"""Which other resources an Envoy resource names: what must be there before it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import any_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.json_format import MessageToDict

from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

Reference = tuple[str, str]
"""(type URL, name)."""

_FIELDS: Final = {
    ("envoy.config.route.v3.RouteAction", "cluster"): CLUSTER,
    ("envoy.config.route.v3.WeightedCluster.ClusterWeight", "name"): CLUSTER,
    ("envoy.config.route.v3.RouteAction.RequestMirrorPolicy", "cluster"): CLUSTER,
    ("envoy.config.core.v3.HttpUri", "cluster"): CLUSTER,
    ("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name"): CLUSTER,
    ("envoy.config.core.v3.EnvoyInternalAddress", "server_listener_name"): LISTENER,
    ("envoy.extensions.filters.network.http_connection_manager.v3.Rds", "route_config_name"): ROUTE,
    ("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "name"): SECRET,
}
"""(message, field) that holds a name, and of what."""


def references(message: Any) -> frozenset[Reference]:
    """Return what a message refers to, however deep, also in packed extensions whose type is known here."""
    return frozenset(_walk(message))


def _walk(message: Any) -> Iterator[Reference]:
    if isinstance(message, any_pb2.Any):
        inner = _unpacked(message)
        if inner is not None:
            yield from _walk(inner)
        return
    if isinstance(message, struct_pb2.Struct):
        yield from _in_json(MessageToDict(message))
        return
    kind = message.DESCRIPTOR.full_name
    for field, value in message.ListFields():
        wanted = _FIELDS.get((kind, field.name))
        if wanted is not None:
            yield wanted, value
        elif field.message_type is not None:
            yield from _children(field, value)


def _children(field: Any, value: Any) -> Iterator[Reference]:
    options = field.message_type.GetOptions()
    if options.map_entry:
        if field.message_type.fields_by_name["value"].message_type is not None:
            for each in value.values():
                yield from _walk(each)
    elif field.is_repeated:
        for each in value:
            yield from _walk(each)
    else:
        yield from _walk(value)


def _unpacked(packed: Any) -> Any | None:
    """Return the message in an Any; None where its type is not known here."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor).FromString(packed.value)


def _in_json(value: Any) -> Iterator[Reference]:
    """Find names in a `Struct`: filters whose types our protobuf package lacks, and our scripts' tables."""
    if isinstance(value, dict):
        if "name" in value and ("sds_config" in value or "sdsConfig" in value):
            yield SECRET, value["name"]
        if isinstance(value.get("cluster"), str):
            yield CLUSTER, value["cluster"]
        for member in value.get("clusters") or ():
            yield CLUSTER, member["name"]
        for each in value.values():
            yield from _in_json(each)
    elif isinstance(value, list):
        for each in value:
            yield from _in_json(each)
