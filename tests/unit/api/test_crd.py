"""The rewriter: what pydantic writes → what a CRD may hold, case by case."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

from pointsman.api.crd import HEADER, SchemaError, files, structural
from pointsman.api.v1alpha1.cel import duration_between, needs
from pointsman.api.v1alpha1.meta import ApiModel

RULE = {"rule": "self > 0", "message": "must be positive"}
OTHER = {"rule": "self < 9", "message": "must be small"}
DEFS: dict[str, Any] = {
    "Leaf": {"type": "object", "title": "Leaf", "description": "A leaf.", "properties": {}},
    "Count": {"type": "integer", "minimum": 1, "x-kubernetes-validations": [RULE]},
    "Nested": {"$ref": "#/$defs/Count", "description": "A count."},
}


def text(**more: Any) -> dict[str, Any]:
    """Return a bounded string's schema."""
    return {"type": "string", "maxLength": 9, **more}


@pytest.mark.parametrize(
    ("given", "structured"),
    [
        pytest.param(
            text(title="Name", default="x", examples=["y"]), text(), id="title, default, examples go"
        ),
        pytest.param(
            {"$ref": "#/$defs/Leaf"}, {"description": "A leaf.", "type": "object", "properties": {}}, id="ref"
        ),
        pytest.param(
            {"$ref": "#/$defs/Leaf", "description": "Mine."},
            {"description": "Mine.", "type": "object", "properties": {}},
            id="a sibling of a ref wins",
        ),
        pytest.param(
            {"$ref": "#/$defs/Nested", "x-kubernetes-validations": [OTHER]},
            {
                "description": "A count.",
                "type": "integer",
                "minimum": 1,
                "x-kubernetes-validations": [RULE, OTHER],
            },
            id="rules along a chain of refs add up",
        ),
        pytest.param({"anyOf": [text(), {"type": "null"}], "default": None}, text(), id="anyOf null"),
        pytest.param(
            {"anyOf": [{"$ref": "#/$defs/Count"}, {"type": "null"}], "maximum": 5},
            {"type": "integer", "minimum": 1, "maximum": 5, "x-kubernetes-validations": [RULE]},
            id="anyOf ref or null",
        ),
        pytest.param({"allOf": [{"$ref": "#/$defs/Count"}]}, DEFS["Count"], id="allOf of one"),
        pytest.param({"type": ["string", "null"], "maxLength": 9}, text(), id="type list with null"),
        pytest.param({"const": "a", "type": "string"}, {"type": "string", "enum": ["a"]}, id="const"),
        pytest.param(
            {"enum": ["a", None], "type": "string"}, {"type": "string", "enum": ["a"]}, id="null in an enum"
        ),
        pytest.param(
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
            {"type": "integer", "minimum": 1, "maximum": 9},
            id="exclusive bounds of integers",
        ),
        pytest.param(
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            id="exclusive bound of a number",
        ),
        pytest.param(
            {"type": "object", "properties": {"a": text(description="A.")}, "additionalProperties": False},
            {"type": "object", "properties": {"a": text(description="A.")}},
            id="additionalProperties false beside properties",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": text(title="T"), "maxProperties": 3},
            {"type": "object", "maxProperties": 3, "additionalProperties": text()},
            id="a bounded map",
        ),
        pytest.param(
            {
                "type": "array",
                "maxItems": 2,
                "items": {"$ref": "#/$defs/Leaf"},
                "x-kubernetes-list-type": "atomic",
            },
            {
                "type": "array",
                "maxItems": 2,
                "items": {"description": "A leaf.", "type": "object", "properties": {}},
                "x-kubernetes-list-type": "atomic",
            },
            id="items",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": text(description="A.")},
                "required": ["a"],
                **needs(a="must be set"),
            },
            {
                "type": "object",
                "properties": {"a": text(description="A. Required.")},
                "x-kubernetes-validations": [
                    {
                        "rule": "has(self.a)",
                        "message": "must be set",
                        "fieldPath": ".a",
                        "reason": "FieldValueRequired",
                    }
                ],
            },
            id="a required field with a remedy becomes a rule",
        ),
    ],
)
def test_structural(given: dict[str, Any], structured: dict[str, Any]) -> None:
    """Each form that pydantic writes and a CRD may not hold has one structural form."""
    assert structural(given, DEFS, "it") == structured


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"type": "string"}, "it: a string without bound; set max_length"),
        ({"type": "array", "items": text(), "x-kubernetes-list-type": "set"}, "it: a list without bound"),
        ({"type": "array", "items": text(), "maxItems": 2}, "it: a list that does not say how it merges"),
        ({"type": "object", "additionalProperties": text()}, "it: a map without bound"),
        ({"type": "object", "additionalProperties": True}, "it: an object with any content"),
        (
            {"type": "object", "properties": {}, "additionalProperties": text()},
            "it: properties and additionalProperties exclude each other",
        ),
        ({"type": "object", "properties": {"a": text()}}, "it.a: has no description"),
        ({"type": "object", "properties": {"a": text(description=" ")}}, "it.a: has no description"),
        ({"anyOf": [text(), {"type": "integer"}]}, "it: a union of types has no structural form"),
        ({"type": ["string", "integer"]}, "it: a field has one type"),
        ({"allOf": [text(), text()]}, "it: allOf of several schemas"),
        (
            {"type": "array", "prefixItems": [], "maxItems": 1, "x-kubernetes-list-type": "atomic"},
            "prefixItems",
        ),
        ({"description": "Anything."}, "it: has no type"),
        (
            {
                "type": "array",
                "maxItems": 1,
                "x-kubernetes-list-type": "atomic",
                "items": {"type": "object", "properties": {"a": text()}},
            },
            r"it\[\].a: has no description",
        ),
    ],
)
def test_what_has_no_structural_form_is_refused(given: dict[str, Any], complaint: str) -> None:
    """What would be dropped in silence, or break the CEL budget, fails with its path and a remedy."""
    with pytest.raises(SchemaError, match=complaint):
        structural(given, DEFS, "it")


class Part(ApiModel):
    """A part."""

    size: Annotated[int | None, Field(ge=0, le=9, description="How big.")] = None


class Whole(ApiModel):
    """A whole."""

    kind_of: Annotated[Literal["Only"], Field(description="Which.")] = "Only"
    wait: Annotated[
        Annotated[str, Field(max_length=32), duration_between("1s", "1h", "5s")] | None,
        Field(description="How long."),
    ] = None
    part: Part | None = None


def test_a_model_s_own_schema() -> None:
    """What the installed pydantic writes today passes through; a class's docstring describes its field."""
    schema = Whole.model_json_schema()
    found = structural(schema, schema["$defs"], "Whole")
    wait = found["properties"]["wait"]
    assert found["description"] == "A whole."
    assert found["properties"]["kindOf"] == {"description": "Which.", "type": "string", "enum": ["Only"]}
    assert found["properties"]["part"]["description"] == "A part."
    assert found["properties"]["part"]["properties"]["size"] == {
        "description": "How big.",
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
    }
    assert wait["x-kubernetes-validations"][0]["message"].startswith("must be from 1s to 1h")
    assert "required" not in found


def test_the_input_stays_as_it_was() -> None:
    """The rewriter is pure: neither the schema nor the definitions change."""
    given = {"$ref": "#/$defs/Nested", "x-kubernetes-validations": [OTHER]}
    structural(given, DEFS, "it")
    assert given == {"$ref": "#/$defs/Nested", "x-kubernetes-validations": [OTHER]}
    assert DEFS["Count"]["x-kubernetes-validations"] == [RULE]


def test_files_are_yaml_without_anchors() -> None:
    """Every file says where it comes from, is one document and repeats what repeats."""
    for name, content in files().items():
        assert content.startswith(HEADER)
        assert yaml.safe_load(content)["metadata"]["name"] in name.replace("pointsman.dev_", "").replace(
            ".yaml", ".pointsman.dev"
        )
        assert "&id" not in content
