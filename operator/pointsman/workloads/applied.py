"""Whether the API server holds an object as we want it: so that at rest nothing is written. Pure.

Two questions. Do we want what we wanted when we last applied? An annotation holds the digest of that: it
tells of fields that we want no more. Is what we want still so? Every field of the manifest is compared with
the object: that tells of a stranger's hand. Fields that are not in the manifest are not ours.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from pointsman.workloads import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

APPLIED: Final = "pointsman.dev/applied"
"""Annotation of the objects that the operator makes."""
_KEYS: Final = ("uid", "name", "port", "containerPort", "mountPath", "topologyKey", "key", "type")
"""What tells the items of Kubernetes' own lists apart; the first that all items have."""
_AMOUNTS: Final = frozenset({"requests", "limits"})
_SIZE: Final = "sizeLimit"
_IN_NO_LIST: Final = frozenset({"apiVersion", "kind"})
"""The API server leaves them out of the items of its lists."""


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with its own digest in an annotation."""
    metadata = dict(manifest["metadata"])
    annotations = dict(metadata.get("annotations") or {}) | {APPLIED: digest(manifest)}
    return {**manifest, "metadata": metadata | {"annotations": annotations}}


def digest(manifest: Mapping[str, Any]) -> str:
    """Return a short digest of a manifest."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_applied(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether `live` is what `wanted` (stamped) asks for, whatever else is in it."""
    return drifted(live, wanted) is None


def drifted(live: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "") -> str | None:
    """Return the path of the first field of `wanted` (stamped) that is not so in `live`, or None."""
    for key, value in wanted.items():
        below = f"{path}.{key}" if path else key
        if below in _IN_NO_LIST or _holds(live.get(key), value, key):
            continue
        if isinstance(value, dict) and isinstance(live.get(key), dict) and key not in _AMOUNTS:
            return drifted(live[key], value, below) or below
        return below
    return None


def _holds(live: Any, wanted: Any, field: str = "") -> bool:
    if isinstance(wanted, dict):
        return _holds_object(live or {}, wanted, field)
    if isinstance(wanted, list):
        return isinstance(live, list) and _holds_list(live, wanted)
    if live is None:
        return wanted in {"", False}  # left out by the API server
    return bool(live == wanted) or (field == _SIZE and quantity.same(live, wanted))


def _holds_object(live: Mapping[str, Any], wanted: Mapping[str, Any], field: str) -> bool:
    if field in _AMOUNTS:
        return all(key in live and quantity.same(live[key], value) for key, value in wanted.items())
    return all(_holds(live.get(key), value, key) for key, value in wanted.items())


def _holds_list(live: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Tell whether every wanted item is there; of lists without keys, nothing else may be."""
    if not all(isinstance(item, dict) for item in (*live, *wanted)):
        return list(live) == list(wanted)
    key = next((k for k in _KEYS if wanted and all(k in item for item in (*live, *wanted))), None)
    if key is None or len({item[key] for item in live}) < len(live):
        return len(live) == len(wanted) and all(map(_holds, live, wanted))
    by_key = {item[key]: item for item in live}
    return all(item[key] in by_key and _holds(by_key[item[key]], item) for item in wanted)


def owns(live: Mapping[str, Any], manager: str, *path: str) -> bool:
    """Tell whether a field manager's server-side apply owns a field, for instance `spec`, `replicas`."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            fields = entry.get("fieldsV1") or {}
            for name in path:
                fields = fields.get(f"f:{name}")
                if fields is None:
                    break
            else:
                return True
    return False
