"""Plans as plain values to read and to store, without what is unset or empty. Pure."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pointsman.plan.types import CertificateName, SecretName

if TYPE_CHECKING:
    from pointsman.plan.build import BuildResult


def plan_view(result: BuildResult) -> dict[str, Any]:
    """Return what `build` returned as JSON values; keys of tiers are `namespace/name/key`."""
    shown: dict[str, Any] = {"gateways": {name: _plain(plan) for name, plan in result.gateways.items()}}
    return shown | {"findings": [_plain(finding) for finding in result.findings]}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretName | CertificateName):
        return value.resource
    if is_dataclass(value):
        every = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {name: item for name, item in every.items() if item not in (None, [], "")}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
