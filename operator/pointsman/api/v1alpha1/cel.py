"""Rules that the API server checks (CEL) and that reading a model checks too, with one message for both.

A bare `pattern` in a schema answers with the regular expression. These answer with the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

VALIDATIONS: Final = "x-kubernetes-validations"
REQUIRED: Final = "x-pointsman-required"
"""Schema key that `needs` sets and the CRD generator resolves; never in a CRD."""

DURATION_PATTERN: Final = r"^([0-9]{1,5}(ms|s|m|h)){1,4}$"
"""As in the Gateway API (GEP-2257): every match is a duration that CEL can read, which 99999999h is not."""

_DAY_S: Final = 86400
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def rule(expression: str, message: str, path: str | None = None) -> dict[str, str]:
    """Return one `x-kubernetes-validations` entry; `message` is the remedy, `path` (`.a.b`) the field."""
    entry = {"rule": expression, "message": message}
    if path is not None:
        entry["fieldPath"] = path
    return entry


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Return the JSON-schema extra that carries CEL rules."""
    return {VALIDATIONS: list(entries)}


def needs(**remedies: str) -> dict[str, Any]:
    """Return the JSON-schema extra of an object whose required fields (camelCase) have a remedy to tell.

    The schema's own `required` says no more than "Required value", and hides every other rule's message.
    """
    return {REQUIRED: remedies}


def one_block(blocks: Mapping[Any, str], optional: Collection[str] = ()) -> list[dict[str, str]]:
    """Return the rules by which `type` says which member is set: `blocks` is its member (camelCase) by type.

    That of an `optional` type may be left out.
    """
    return [
        rule(
            f"self.type == '{kind}' || !has(self.{member})",
            f"is only for type {kind}; remove it or change type",
            f".{member}",
        )
        if kind in optional
        else rule(
            f"(self.type == '{kind}') == has(self.{member})",
            f"must be set where type is {kind}, and only there; add it, remove it or change type",
            f".{member}",
        )
        for kind, member in blocks.items()
    ]


def seconds(duration: str) -> float:
    """Return the length of a duration (`1h30m`, `50ms`) in seconds."""
    return sum(int(n) * _UNIT_SECONDS[unit] for n, unit in re.findall(r"(\d+)(ms|s|m|h)", duration))


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation of a field's type: a CEL rule in the CRD, the same check in Python."""

    expression: str
    message: str
    check: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Add the check to what pydantic validates."""
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the rule to the schema."""
        out: dict[str, Any] = handler(schema)
        out[VALIDATIONS] = [*out.get(VALIDATIONS, []), rule(self.expression, self.message)]
        return out

    def _validate(self, value: Any) -> Any:
        if not self.check(value):
            raise ValueError(self.message)
        return value


def matches(pattern: str, message: str) -> Checked:
    """Require a match of an anchored regular expression (RE2 and Python alike, no single quote in it)."""
    compiled = re.compile(pattern)
    return Checked(f"self.matches(r'{pattern}')", message, lambda v: compiled.fullmatch(v) is not None)


def duration_between(low: str, high: str, example: str) -> Checked:
    """Require a duration from `low` to `high`."""
    days = "; days are not a unit: 7 days are 168h" if seconds(high) > _DAY_S else ""
    compiled = re.compile(DURATION_PATTERN)
    return Checked(
        f"self.matches(r'{DURATION_PATTERN}') && "
        f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')",
        f"must be from {low} to {high} in whole h, m, s or ms, for instance {example}{days}",
        lambda v: compiled.fullmatch(v) is not None and seconds(low) <= seconds(v) <= seconds(high),
    )
