"""Manifests with `${NAME}` in them: the lab's addresses differ from run to run, so examples name them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from pointsman.lab.process import LabError

_TIERS: Final = ("small", "cheap", "spare", "strong")
_NAME: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def lab_values(status: Mapping[str, Any]) -> dict[str, str]:
    """Return what a running lab knows, from its status."""
    address = {name: part["address"] for name, part in status["parts"].items()}
    return {
        **{f"{tier.upper()}_URL": f"http://{address[f'tier-{tier}']}/v1" for tier in _TIERS},
        "TRITON_URL": f"http://{address['triton']}",
        "PROMETHEUS_URL": str(status["prometheus"]),
        "ENTRY_URL": str(status["entry"]),
    }


def bundle_values(bundle: bytes) -> dict[str, str]:
    """Return a bundle file's digest, its bytes, and the threshold that its training suggests."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as members:
            measured = json.loads(members.read("bundle.json")).get("metrics") or {}
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise LabError(f"the bundle cannot be read: {error}; make one with `pointsman train`") from None
    values = file_values("BUNDLE", bundle)
    if "threshold_permille" in measured:
        values["THRESHOLD_PERMILLE"] = str(measured["threshold_permille"])
    return values


def file_values(name: str, content: bytes) -> dict[str, str]:
    """Return a file's digest and bytes, as `NAME_SHA256` and `NAME_BASE64`: for a ConfigMap's binaryData."""
    return {
        f"{name}_SHA256": hashlib.sha256(content).hexdigest(),
        f"{name}_BASE64": base64.b64encode(content).decode(),
    }


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Replace every `${NAME}`, as envsubst does; `LabError` names those without a value."""
    missing = sorted({name for name in _NAME.findall(text) if name not in values})
    if missing:
        known = ", ".join(sorted(values))
        raise LabError(
            f"no value for {', '.join(missing)}; give --bundle or --set NAME=VALUE (known: {known})"
        )
    return _NAME.sub(lambda found: values[found.group(1)], text)
