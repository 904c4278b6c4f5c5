"""What one gateway's Envoys shall have: an immutable snapshot, versioned by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import any_pb2

from pointsman.contract import CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, CLUSTER_XDS
from pointsman.xds.references import Reference, references
from pointsman.xds.translate.clusters import DNS
from pointsman.xds.translate.names import NO_POLICY
from pointsman.xds.types import CLUSTER, ROUTE, TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE: Final = frozenset({CLUSTER_XDS, CLUSTER_ACCESS_LOG, CLUSTER_CAPTURE, NO_POLICY})
"""Clusters that are in no snapshot: of Envoy's bootstrap, or missing on purpose."""


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


class Versioner:
    """Packs messages into `Versioned`, and remembers what it found out about those that did not change.

    It keeps one generation: what the last `pack` did not see is forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Versioned] = {}
        self._hosts: dict[str, dict[bytes, frozenset[Reference]]] = {}

    def pack(self, messages: Mapping[str, Mapping[str, Any]]) -> Snapshot:
        """Return the snapshot of protobuf messages, by type URL and name."""
        known: dict[tuple[str, str], Versioned] = {}
        resources: dict[str, dict[str, Versioned]] = {}
        for type_url, named in messages.items():
            resources[type_url] = {}
            for name, message in named.items():
                value = message.SerializeToString(deterministic=True)
                version = hashlib.sha256(value).hexdigest()[:16]
                before = self._known.get((type_url, name))
                if before is None or before.version != version:
                    before = self._versioned(type_url, message, value, version)
                known[type_url, name] = resources[type_url][name] = before
        self._known = known
        return snapshot(resources)

    def _versioned(self, type_url: str, message: Any, value: bytes, version: str) -> Versioned:
        return Versioned(
            version=version,
            body=any_pb2.Any(type_url=type_url, value=value),
            refers=self._routes_refer(message) if type_url == ROUTE else references(message),
            warms=type_url == CLUSTER and message.cluster_type.name == DNS,
        )

    def _routes_refer(self, routes: Any) -> frozenset[Reference]:
        """Look only into hosts that are new: all policies share one resource, and few of them change."""
        hosts = {host.SerializeToString(deterministic=True): host for host in routes.virtual_hosts}
        before = self._hosts.get(routes.name, {})
        known = {key: before.get(key) or references(host) for key, host in hosts.items()}
        self._hosts[routes.name] = known
        return frozenset().union(*known.values())


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
