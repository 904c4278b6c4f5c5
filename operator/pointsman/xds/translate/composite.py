"""Protobuf type of Envoy's composite cluster, which xds-protos does not carry yet.

Envoy finds a cluster's factory by the type of its `Any`, so a `TypedStruct` will not do (tried on 1.40). The
message is two fields: `ClusterConfig {repeated ClusterEntry clusters = 1}`, `ClusterEntry {string name = 1}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

_PACKAGE: Final = "envoy.extensions.clusters.composite.v3"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto


def cluster_config(members: Sequence[str]) -> Message:
    """Return the configuration of a composite cluster: attempt n goes to member n."""
    return _CLUSTER_CONFIG(clusters=[{"name": name} for name in members])


def _message_class() -> type[Message]:
    pool = descriptor_pool.Default()
    try:
        found = pool.FindMessageTypeByName(f"{_PACKAGE}.ClusterConfig")
    except KeyError:
        config = descriptor_pb2.DescriptorProto(name="ClusterConfig")
        entry = config.nested_type.add(name="ClusterEntry")
        entry.field.add(name="name", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
        config.field.add(
            name="clusters",
            number=1,
            type=_FIELD.TYPE_MESSAGE,
            label=_FIELD.LABEL_REPEATED,
            type_name=f".{_PACKAGE}.ClusterConfig.ClusterEntry",
        )
        file = descriptor_pb2.FileDescriptorProto(
            name="pointsman/composite_cluster.proto", package=_PACKAGE, syntax="proto3", message_type=[config]
        )
        pool.Add(file)
        found = pool.FindMessageTypeByName(f"{_PACKAGE}.ClusterConfig")
    made: type[Message] = message_factory.GetMessageClass(found)
    return made


_CLUSTER_CONFIG: Final = _message_class()
