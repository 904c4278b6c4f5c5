"""From the models to CustomResourceDefinitions: pydantic's JSON Schema made structural. Pure.

What cannot be expressed, is not described, or has no bound fails the generation instead of being dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import yaml

from pointsman.api.v1alpha1 import (
    GROUP,
    VERSION,
    RolloutAction,
    RoutingGateway,
    RoutingPolicy,
    RoutingPolicyRevision,
    TritonPool,
)
from pointsman.api.v1alpha1.cel import REQUIRED, VALIDATIONS
from pointsman.api.v1alpha1.meta import UNSEEN

Schema = dict[str, Any]
Kind = (
    type[RoutingPolicy]
    | type[RoutingPolicyRevision]
    | type[RolloutAction]
    | type[RoutingGateway]
    | type[TritonPool]
)

KINDS: Final[tuple[Kind, ...]] = (
    RoutingPolicy,
    RoutingPolicyRevision,
    RolloutAction,
    RoutingGateway,
    TritonPool,
)
CATEGORY: Final = "pointsman"

HEADER: Final = (
    "# Generated from the models in operator/pointsman/api by `pointsman crd generate`; do not edit.\n"
)

_DROPPED: Final = frozenset({"title", "default", "examples", "$defs"})
_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "items",
    "additionalProperties",
    "properties",
    "required",
)
"""What a structural schema may hold, in the order in which it is written; `x-kubernetes-*` comes after."""


class SchemaError(ValueError):
    """A model cannot become a structural schema; the message names the path and the remedy."""


def structural(schema: Schema, defs: Schema, path: str = "") -> Schema:
    """Return the structural form of a JSON Schema.

    `$ref`, one-member `allOf` and `anyOf … null` are merged in; `const` becomes `enum`; numeric exclusive
    bounds become what OpenAPI v3.0 knows; titles and defaults go. Raises `SchemaError`.
    """
    flat = _flatten(schema, defs, path)
    _drop_null(flat, path)
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    for key in _DROPPED:
        flat.pop(key, None)
    _exclusive_bounds(flat)
    _extra_properties(flat, path)
    _remedies(flat)
    if "properties" in flat:
        flat["properties"] = {
            name: _described(structural(member, defs, f"{path}.{name}"), f"{path}.{name}")
            for name, member in flat["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(flat.get(key), dict):
            flat[key] = structural(flat[key], defs, f"{path}[]")
    return _in_order(flat, path)


def _flatten(schema: Schema, defs: Schema, path: str) -> Schema:
    """Return the schema with what it refers to merged in: siblings win, rules add up."""
    own = dict(schema)
    inner: list[Schema] = []
    if "$ref" in own:
        inner.append(defs[own.pop("$ref").rsplit("/", 1)[-1]])
    if "allOf" in own:
        inner.extend(own.pop("allOf"))
    if "anyOf" in own:
        choices = [c for c in own.pop("anyOf") if c.get("type") != "null"]
        if len(choices) != 1:
            raise SchemaError(
                f"{path}: a union of types has no structural form; use a `type` member and one field each"
            )
        inner.extend(choices)
    if len(inner) > 1:
        raise SchemaError(f"{path}: allOf of several schemas has no structural form; write one class")
    if not inner:
        return own
    base = _flatten(inner[0], defs, path)
    validations = [*base.get(VALIDATIONS, []), *own.get(VALIDATIONS, [])]
    return base | own | ({VALIDATIONS: validations} if validations else {})


def _drop_null(flat: Schema, path: str) -> None:
    kind = flat.get("type")
    if isinstance(kind, list):
        kinds = [k for k in kind if k != "null"]
        if len(kinds) != 1:
            raise SchemaError(f"{path}: a field has one type, not {kinds}")
        flat["type"] = kinds[0]
    if isinstance(flat.get("enum"), list):
        flat["enum"] = [v for v in flat["enum"] if v is not None]


def _exclusive_bounds(flat: Schema) -> None:
    for exclusive, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        value = flat.get(exclusive)
        if value is None or isinstance(value, bool):
            continue
        if flat.get("type") == "integer":
            del flat[exclusive]
            flat[bound] = value + step
        else:
            flat[exclusive] = True
            flat[bound] = value


def _extra_properties(flat: Schema, path: str) -> None:
    extra = flat.get("additionalProperties")
    if extra is False:  # the API server prunes what is not in properties, or refuses it
        del flat["additionalProperties"]
    elif extra is True:
        raise SchemaError(f"{path}: an object with any content; list its fields in a class")
    elif extra is not None and "properties" in flat:
        raise SchemaError(
            f"{path}: properties and additionalProperties exclude each other; move one into a field"
        )


def _remedies(flat: Schema) -> None:
    """Turn required fields that have a remedy to tell into rules: `required` could not tell it."""
    for name, remedy in flat.pop(REQUIRED, {}).items():
        entry = {
            "rule": f"has(self.{name})",
            "message": remedy,
            "fieldPath": f".{name}",
            "reason": "FieldValueRequired",
        }
        flat[VALIDATIONS] = [entry, *flat.get(VALIDATIONS, [])]
        flat["required"] = [r for r in flat.get("required", []) if r != name]
        member = flat["properties"][name]
        if "description" in member:  # `kubectl explain` cannot see from the rule that it is required
            said = {**member, "description": f"{member['description']} Required."}
            flat["properties"] = {**flat["properties"], name: said}
    if not flat.get("required", True):
        del flat["required"]


def _described(schema: Schema, path: str) -> Schema:
    if not schema.get("description", "").strip():
        raise SchemaError(f"{path}: has no description; add one to its Field or a docstring to its class")
    return schema


def _in_order(flat: Schema, path: str) -> Schema:
    """Return the keys in writing order; refuse unknown ones and what lacks a bound, which CEL needs."""
    unknown = [k for k in flat if k not in _KEPT and not k.startswith("x-kubernetes-")]
    if unknown:
        raise SchemaError(f"{path}: {', '.join(unknown)} has no structural form")
    kind = flat.get("type")
    if kind is None:
        raise SchemaError(f"{path}: has no type")
    if kind == "string" and not flat.keys() & {"enum", "maxLength", "format"}:
        raise SchemaError(f"{path}: a string without bound; set max_length")
    if kind == "array" and "maxItems" not in flat:
        raise SchemaError(f"{path}: a list without bound; set max_length")
    if kind == "array" and "x-kubernetes-list-type" not in flat:
        raise SchemaError(f"{path}: a list that does not say how it merges; use list_of or list_map")
    if isinstance(flat.get("additionalProperties"), dict) and "maxProperties" not in flat:
        raise SchemaError(f"{path}: a map without bound; set max_length")
    extensions = {k: v for k, v in flat.items() if k.startswith("x-kubernetes-")}
    return {k: flat[k] for k in _KEPT if k in flat} | extensions


def object_schema(model: Kind) -> Schema:
    """Return a kind's whole `openAPIV3Schema`; metadata is the API server's own affair."""
    generated = model.model_json_schema(by_alias=True)
    defs = generated.pop("$defs", {})
    members = generated["properties"]
    for name in ("apiVersion", "kind", "metadata"):
        members.pop(name)
    generated["required"] = ["spec"]
    schema = structural(generated, defs, model.KIND)
    status = schema["properties"].get("status")
    if status is not None:
        schema["properties"]["status"] = _status(status)
    schema["properties"] = {
        "apiVersion": {"description": f"{GROUP}/{VERSION}.", "type": "string"},
        "kind": {"description": f"{model.KIND}.", "type": "string"},
        "metadata": {"type": "object"},
    } | schema["properties"]
    return schema


def _status(schema: Schema) -> Schema:
    """Return the schema of a status: without rules for people, since nobody but us writes it.

    An object that has none yet is shown with one that says so, for those who wait for `observedGeneration`.
    """
    plain = _without_rules(schema)
    if "observedGeneration" not in plain["properties"]:
        return plain
    return {"description": plain.pop("description"), "default": {"observedGeneration": UNSEEN}} | plain


def _without_rules(schema: Schema) -> Schema:
    return {
        key: _without_rules(member) if isinstance(member, dict) else member
        for key, member in schema.items()
        if key != VALIDATIONS
    }


def crd(model: Kind) -> Schema:
    """Return a kind's CustomResourceDefinition."""
    schema = object_schema(model)
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [dict(column) for column in model.PRINTER_COLUMNS],
        "schema": {"openAPIV3Schema": schema},
    }
    if "status" in schema["properties"]:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": model.KIND,
                "listKind": f"{model.KIND}List",
                "plural": model.PLURAL,
                "singular": model.SINGULAR,
                "shortNames": list(model.SHORT_NAMES),
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice (anchors are legal YAML, and nobody's diff), bare words in a line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _bare(values: Iterable[Any]) -> bool:
    return all(not isinstance(value, dict | list) for value in values)


def _sequence(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=_bare(items))


def _mapping(dumper: _Dumper, members: Schema) -> yaml.Node:
    flow = _bare(members.values()) and members.keys().isdisjoint({"description", "message", "name"})
    return dumper.represent_mapping("tag:yaml.org,2002:map", members, flow_style=flow)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(dict, _mapping)
_WIDTH: Final = 10_000
"""One value, one line: what is folded is mostly indentation."""


def files() -> dict[str, str]:
    """Return every CRD as file name → YAML text."""
    return {
        f"{GROUP}_{model.PLURAL}.yaml": HEADER
        + yaml.dump(crd(model), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
        for model in KINDS
    }
