"""What one gateway's Envoys shall have: an immutable snapshot, versioned by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2

from pointsman.contract import CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, CLUSTER_XDS
from pointsman.xds.references import Reference, references
from pointsman.xds.translate.clusters import DNS
from pointsman.xds.translate.names import NO_POLICY
from pointsman.xds.types import CLUSTER, ROUTE, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointsman.xds.translate import Routing

ELSEWHERE: Final = frozenset({CLUSTER_XDS, CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, NO_POLICY})
"""Clusters that are in no snapshot: of Envoy's bootstrap, or missing on purpose."""


_HOST_TAG: Final = bytes([route_pb2.RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER << 3 | 2])
"""Begins a virtual host within a route configuration: field number, and that a length follows."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """One resource, packed. `version` is a hash of its bytes: the same content has it in every process."""

    version: str
    body: Any = field(repr=False, compare=False)
    """`google.protobuf.Any`."""
    refers: frozenset[Reference] = field(default=frozenset(), repr=False, compare=False)
    warms: bool = field(default=False, compare=False)
    """A new one is not usable at once: a cluster that asks DNS first."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """type URL → name → resource. `version` names the whole."""

    version: str
    resources: Mapping[str, Mapping[str, Versioned]] = field(repr=False)

    def of(self, type_url: str) -> Mapping[str, Versioned]:
        """Return the resources of a type."""
        return self.resources.get(type_url, _NONE)


_NONE: Final[Mapping[str, Versioned]] = MappingProxyType({})


def snapshot(resources: Mapping[str, Mapping[str, Versioned]]) -> Snapshot:
    """Return the snapshot of these resources, by type URL and name."""
    whole = hashlib.sha256()
    for type_url in TYPES:
        for name, resource in sorted(resources.get(type_url, {}).items()):
            whole.update(f"{type_url}\0{name}\0{resource.version}\0".encode())
    unknown = set(resources) - set(TYPES)
    if unknown:
        raise ValueError(f"no stream serves {sorted(unknown)}; add them to xds/types.py in their order")
    frozen = {type_url: MappingProxyType(dict(named)) for type_url, named in resources.items()}
    return Snapshot(whole.hexdigest()[:16], MappingProxyType(frozen))


@dataclass(frozen=True, slots=True)
class _Host:
    """A virtual host as bytes of the resource that it is in."""

    message: Any
    value: bytes
    digest: bytes
    refers: frozenset[Reference]


class Versioner:
    """Packs messages into `Versioned`; a message that it saw the last time is not looked into again.

    It keeps one generation: what the last `pack` did not see is forgotten. Nobody may change a message.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Any, Versioned]] = {}
        self._hosts: dict[str, dict[int, _Host]] = {}
        self._routings: dict[str, Versioned] = {}

    def pack(self, messages: Mapping[str, Mapping[str, Any]], routings: Sequence[Routing] = ()) -> Snapshot:
        """Return the snapshot of protobuf messages, by type URL and name, and of route configurations."""
        known: dict[tuple[str, str], tuple[Any, Versioned]] = {}
        resources: dict[str, dict[str, Versioned]] = {}
        for type_url, named in messages.items():
            resources[type_url] = {}
            for name, message in named.items():
                seen, before = self._known.get((type_url, name), (None, None))
                if before is None or seen is not message:
                    before = _versioned(type_url, message, before)
                resources[type_url][name] = before
                known[type_url, name] = message, before
        self._known = known
        if routings:
            resources[ROUTE] = {each.config.name: self._routing(each) for each in routings}
        return snapshot(resources)

    def _routing(self, routing: Routing) -> Versioned:
        """Put a route configuration's hosts together: all policies share it, and few of them change."""
        name = routing.config.name
        before, hosts = self._hosts.get(name, {}), dict[int, _Host]()
        for message in routing.hosts:
            known = before.get(id(message))  # it holds the message, so no other has its id
            hosts[id(message)] = known if known is not None else _host(message)
        self._hosts[name] = hosts
        head = routing.config.SerializeToString(deterministic=True)
        digests = b"".join(host.digest for host in hosts.values())
        version = hashlib.sha256(head + digests).hexdigest()[:16]
        last = self._routings.get(name)
        if last is None or last.version != version:
            value = head + b"".join(host.value for host in hosts.values())
            refers = frozenset[Reference]().union(*(host.refers for host in hosts.values()))
            last = Versioned(version, any_pb2.Any(type_url=ROUTE, value=value), refers)
        self._routings[name] = last
        return last


def _host(message: Any) -> _Host:
    # A repeated field's items may lie anywhere in a message, so bytes are put together, not messages.
    body = message.SerializeToString(deterministic=True)
    value = _HOST_TAG + _varint(len(body)) + body
    return _Host(message, value, hashlib.sha256(value).digest(), references(message))


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it: seven bits a byte, the least first."""
    made = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _versioned(type_url: str, message: Any, before: Versioned | None) -> Versioned:
    value = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(value).hexdigest()[:16]
    if before is not None and before.version == version:
        return before
    return Versioned(
        version=version,
        body=any_pb2.Any(type_url=type_url, value=value),
        refers=references(message),
        warms=type_url == CLUSTER and message.cluster_type.name == DNS,
    )


def inconsistencies(whole: Snapshot) -> list[str]:
    """Return every reference that leads nowhere, as `type name refers to type name`; empty is consistent."""
    found = []
    for type_url in TYPES:
        for name, resource in whole.of(type_url).items():
            for wanted_type, wanted in resource.refers:
                if wanted in whole.of(wanted_type) or (wanted_type == CLUSTER and wanted in ELSEWHERE):
                    continue
                what = f"{_short(wanted_type)} {wanted}"
                found.append(f"{_short(type_url)} {name} refers to {what}, which is not there")
    return sorted(found)


def consistent(whole: Snapshot) -> bool:
    """Tell whether every reference resolves."""
    return not inconsistencies(whole)


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
