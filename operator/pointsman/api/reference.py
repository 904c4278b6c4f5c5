"""The API reference: every field of every kind in Markdown tables, from the schemas of the CRDs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pointsman.api.conditions import REASONS, Reasons
from pointsman.api.crd import KINDS, Kind, Schema, object_schema
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS
from pointsman.api.v1alpha1 import API_VERSION
from pointsman.api.v1alpha1.cel import VALIDATIONS

_INTRO: Final = f"""\
<!-- Generated from the models in operator/pointsman/api by `pointsman crd docs`; do not edit. -->
# API reference: `{API_VERSION}`

Every field. "Required" is within its parent. Words in italics are rules, as the API server says them.
No field of a spec has a default in the CRD: defaults are resolved when a revision is frozen, and kept in it.
"""


_CONDITIONS: Final[tuple[tuple[str, Reasons], ...]] = (
    ("RoutingPolicy", REASONS),
    ("RoutingGateway", GATEWAY_REASONS),
    ("TritonPool", POOL_REASONS),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a kind."""

    path: str
    type: str
    required: bool
    meaning: str


def rows(schema: Schema, path: str, told: dict[str, list[str]] | None = None) -> Iterator[Row]:
    """Yield the fields below an object schema, parents first; `told` are rules of fields, by path."""
    told = {} if told is None else told
    required = set(schema.get("required", []))
    for entry in schema.get(VALIDATIONS, []):
        field = entry.get("fieldPath", "")
        if entry.get("reason") == "FieldValueRequired":
            required.add(field[1:])
        else:
            told.setdefault(f"{path}{field}", []).append(f"*{entry['message']}*")
    for name, member in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        children = list(rows(member, below, told))
        if member["type"] == "array":
            children += rows(member["items"], f"{below}[]", told)
        rules = [*told.get(below, []), *told.get(f"{below}[]", [])]
        meaning = _escaped(" ".join([member.get("description", ""), *rules]))
        yield Row(below, _type(member), name in required, meaning)
        yield from children


def _escaped(text: str) -> str:
    """Return the text so that a table cell shows it: its bars and its asterisks beside dots and blanks."""
    return text.replace("*.", r"\*.").replace(" * ", r" \* ").replace("|", r"\|")


def _type(schema: Schema) -> str:
    """Return a field's type and bounds in few words."""
    kind: str = schema["type"]
    if kind == "array":
        return f"list of {_type(schema['items'])}, {schema.get('minItems', 0)} to {schema['maxItems']}"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if kind == "integer" and "minimum" in schema and "maximum" in schema:
        return f"integer, {schema['minimum']} to {schema['maximum']}"
    if schema.get("format") == "date-time":
        return "time"
    return kind


def _kind(model: Kind) -> str:
    schema = object_schema(model)
    members = {k: v for k, v in schema["properties"].items() if k not in {"apiVersion", "kind", "metadata"}}
    table = [
        "| path | type | required | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{row.path}` | {row.type} | {'yes' if row.required else ''} | {row.meaning} |"
            for row in rows({**schema, "properties": members}, "")
        ),
    ]
    names = ", ".join(f"`{name}`" for name in (model.PLURAL, *model.SHORT_NAMES))
    rules = " ".join(f"*{r['message']}*" for r in schema.get(VALIDATIONS, []))
    head = f"{schema['description']} As kubectl knows it: {names}. {rules}".strip()
    return f"## {model.KIND}\n\n{head}\n\n" + "\n".join(table) + "\n"


def _conditions(kind: str, known: Reasons) -> str:
    lines = [f"## Conditions of a {kind}", ""]
    for reasons in known:
        lines += [
            f"### {reasons.TYPE}",
            "",
            reasons.TYPE.sentence,
            "",
            "| reason | status | meaning |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{reason}` | {reason.status} | {reason.sentence}{' *Stalled.*' if reason.ends else ''} |"
            for reason in reasons
        ]
        lines.append("")
    lines.append(
        "`Ready` that is not True carries the reason and the message of the first condition that is not. "
        "`Stalled` is True with a reason that is marked so, which no waiting mends; else it is not there."
    )
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return the whole page."""
    kinds = (_kind(model) for model in KINDS)
    return "\n".join([_INTRO, *kinds, *(_conditions(kind, known) for kind, known in _CONDITIONS)])
