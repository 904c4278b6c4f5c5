"""Manifests as kubectl takes them → policies, revisions, gateways, as strictly as the API server. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from pointsman.api.v1alpha1 import API_VERSION, RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KINDS: Final[dict[str, type[RoutingPolicy | RoutingPolicyRevision | RoutingGateway]]] = {
    RoutingPolicy.KIND: RoutingPolicy,
    RoutingPolicyRevision.KIND: RoutingPolicyRevision,
    RoutingGateway.KIND: RoutingGateway,
}


class ManifestError(ValueError):
    """A manifest that cannot be read; the text names file, document and field."""


@dataclass(slots=True)
class Manifests:
    """What a set of files holds, by `namespace/name`."""

    policies: dict[str, RoutingPolicy] = field(default_factory=dict)
    revisions: dict[str, RoutingPolicyRevision] = field(default_factory=dict)
    gateways: dict[str, RoutingGateway] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    """Objects of kinds that are not ours, in words."""


def read(files: Mapping[str, str]) -> Manifests:
    """Return what the files (name → YAML or JSON text) hold; `ManifestError` for what cannot be read."""
    found = Manifests()
    for name, text in files.items():
        for where, value in _documents(name, text):
            _take(found, where, value)
    return found


def _take(found: Manifests, where: str, value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ManifestError(f"{where}: is no Kubernetes object; it needs apiVersion, kind, metadata and spec")
    kind = value["kind"]
    model = _KINDS.get(kind)
    if model is None:
        found.others.append(f"{where}: {kind} is not translated")
        return
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{where}: {kind} {name}" if name else f"{where}: {kind}"
    if value.get("apiVersion") != API_VERSION:
        raise ManifestError(f"{where}: apiVersion must be {API_VERSION}, not {value.get('apiVersion')!r}")
    try:
        parsed = model.model_validate(value)
    except ValidationError as error:
        words = "; ".join(f"{_path(e['loc'])}: {_words(e)}" for e in error.errors())
        raise ManifestError(f"{where}: {words}") from None
    unknown = unknown_fields(value["spec"], parsed.spec, "spec")
    if unknown:
        raise ManifestError(f"{where}: unknown field {', '.join(unknown)}; correct or remove it")
    by_kind: dict[str, dict[str, Any]] = {
        RoutingPolicy.KIND: found.policies,
        RoutingPolicyRevision.KIND: found.revisions,
        RoutingGateway.KIND: found.gateways,
    }
    kept = by_kind[kind]
    if parsed.key in kept:
        raise ManifestError(f"{where}: {parsed.key} is there twice; remove one of the two")
    kept[parsed.key] = parsed


def unknown_fields(given: Any, parsed: BaseModel, path: str) -> list[str]:
    """Return the paths of the fields that `parsed`, which was read from `given`, does not know."""
    return sorted(_unknown(given, parsed.model_dump(by_alias=True, exclude_unset=True), path))


def _documents(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """Yield every object with where it is; a List (`kubectl get -o yaml`) is its items."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise ManifestError(f"{name}: is no YAML: {' '.join(str(error).split())}") from None
    for number, value in enumerate(documents, start=1):
        where = name if len(documents) == 1 else f"{name}: document {number}"
        if value is None:
            continue
        items = value.get("items") if isinstance(value, dict) else None
        if isinstance(items, list) and str(value.get("kind", "")).endswith("List"):
            yield from ((f"{where}: items[{i}]", item) for i, item in enumerate(items))
        else:
            yield where, value


def _unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            at = f"{path}.{key}"
            if key in known:
                yield from _unknown(value, known[key], at)
            else:
                yield at
    elif isinstance(given, list) and isinstance(known, list):
        for i, (value, seen) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(value, seen, f"{path}[{i}]")


def _path(location: tuple[int | str, ...]) -> str:
    """Return a field as the API server writes it: `spec.tiers[0].name`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).lstrip(".")


def _words(error: Any) -> str:
    message = re.sub(r"^Value error, ", "", str(error["msg"]))
    return message[:1].lower() + message[1:]


class _Loader(yaml.SafeLoader):
    """Reads times as text, as Kubernetes does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
