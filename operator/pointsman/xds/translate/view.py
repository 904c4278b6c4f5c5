"""Envoy's resources as plain values to read and to store: packed messages opened, scripts named. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from pointsman.xds.translate.resources import CLUSTER, LISTENER, ROUTES
from pointsman.xds.translate.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.plan.types import CertificateName, SecretName
    from pointsman.xds.translate import Resources

SCRIPTS: Final = ("dispatch", "decide", "rewrite")
_SECTIONS: Final = {"listeners": LISTENER, "clusters": CLUSTER, "routes": ROUTES}


def xds_view(resources: Resources, secrets: Iterable[SecretName | CertificateName]) -> dict[str, Any]:
    """Return one gateway's resources by kind and name. Of secrets there is the name alone."""
    sources = {script(name): f"{name}.lua" for name in SCRIPTS}
    shown: dict[str, Any] = {}
    for section, kind in _SECTIONS.items():
        found = {}
        for name, message in resources[kind].items():
            value = json_format.MessageToDict(message, preserving_proto_field_name=True)
            found[name] = _without_name(_readable(value, sources))
        shown[section] = found
    return shown | {"secrets": sorted(name.resource for name in secrets)}


def script_digests() -> dict[str, str]:
    """Return file name → SHA-256 of the scripts that `xds_view` only names."""
    return {f"{name}.lua": hashlib.sha256(script(name).encode()).hexdigest() for name in SCRIPTS}


def _without_name(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "name"}


def _readable(value: Any, sources: dict[str, str]) -> Any:
    if isinstance(value, dict):
        # Maps have no order in protobuf; what a thing is goes before what it has.
        keys = sorted(value, key=lambda key: (key not in {"@type", "name"}, key))
        return {key: _readable(value[key], sources) for key in keys}
    if isinstance(value, list):
        return [_readable(item, sources) for item in value]
    if isinstance(value, str):
        return sources.get(value, value)
    # A table's numbers are doubles in protobuf, and whole in ours.
    return int(value) if isinstance(value, float) and value.is_integer() else value
