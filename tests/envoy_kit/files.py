"""Resources as files that Envoy watches: the same bytes that xDS would serve, without a server."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from pointsman.xds.bootstrap import ShadowListener, bootstrap
from pointsman.xds.translate import CLUSTER, LISTENER, ROUTES, SECRET, Resources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILES = {LISTENER: "lds.json", CLUSTER: "cds.json"}
ONE_EACH = {SECRET: "sds", ROUTES: "rds"}
"""Types of which Envoy takes one resource per file."""


def plain(resources: Resources) -> dict[str, list[dict[str, Any]]]:
    """Return resources as JSON values, by type URL, sorted by name."""
    return {
        kind: [
            json_format.MessageToDict(message, preserving_proto_field_name=True)
            for _, message in sorted(by_name.items())
        ]
        for kind, by_name in resources.items()
    }


def write(directory: Path, resources: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write (or atomically replace) the files of all types that `resources` has."""
    for kind, items in resources.items():
        wrapped = [{"@type": kind} | from_files(item, directory) for item in items]
        if kind in ONE_EACH:
            for item in wrapped:
                _replace(directory / file_of(kind, item["name"]), [item])
        else:
            _replace(directory / FILES[kind], wrapped)


def file_of(kind: str, name: str) -> str:
    """Return the file of one secret or route configuration."""
    return f"{ONE_EACH[kind]}-{name.replace('/', '-')}.json"


def _replace(target: Path, resources: list[Any]) -> None:
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps({"version_info": "1", "resources": resources}), encoding="utf-8")
    os.replace(draft, target)  # noqa: PTH105 - Envoy watches for the move


def _file(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def from_files(value: Any, directory: Path) -> Any:
    """Return a JSON value in which whatever is asked from ADS is asked from the files in `directory`."""
    if isinstance(value, dict):
        if "sds_config" in value:
            return value | {"sds_config": _file(directory / file_of(SECRET, value["name"]))}
        if "route_config_name" in value:
            return value | {"config_source": _file(directory / file_of(ROUTES, value["route_config_name"]))}
        return {key: from_files(item, directory) for key, item in value.items()}
    if isinstance(value, list):
        return [from_files(item, directory) for item in value]
    return value


def file_bootstrap(
    directory: Path, *, admin: str, access_log: str, capture: str, shadow: str | None = None
) -> dict[str, Any]:
    """Return the product's own bootstrap, with the files in place of the ADS stream."""
    value = bootstrap(
        gateway="default",
        node_id="test",
        admin_address=admin,
        xds_addresses=["127.0.0.1:1"],
        access_log_address=access_log,
        capture_address=capture,
        shadow=None if shadow is None else ShadowListener(shadow),
    )
    value["dynamic_resources"] = {
        f"{kind}_config": {
            "path_config_source": {"path": str(directory / f"{kind}.json")},
            "resource_api_version": "V3",
        }
        for kind in ("lds", "cds")
    }
    value["static_resources"]["clusters"] = [
        c for c in value["static_resources"]["clusters"] if c["name"] != "pointsman-xds"
    ]
    found: dict[str, Any] = from_files(value, directory)
    return found
