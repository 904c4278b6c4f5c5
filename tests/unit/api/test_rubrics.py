"""Versions of rubrics: what changes a verdict changes them, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pointsman.api.v1alpha1.rubrics import BLOCKS, Rubric, RubricType, rubric_version

SHA = "a" * 64
DATASET = {"dataset": {"uri": "configmap://refs", "sha256": SHA}}
GOOD: dict[RubricType, dict[str, Any]] = {
    "ExactMatch": {"extract": ["is ([A-J])"], "reference": DATASET},
    "Contains": {"any": ["a", "b"]},
    "Regex": {"pattern": "^a"},
    "JSONSchema": {"schemaRef": {"name": "schemas", "sha256": SHA}},
    "Length": {"maxCharacters": 10},
    "Refusal": {},
    "Judge": {
        "endpoint": {"url": "https://judge.example/v1", "model": "large"},
        "prompt": "{question} {answer} {reference}",
        "passAtLeast": 4,
        "budgetPerHour": 60,
        "reference": DATASET,
    },
}


def version(kind: RubricType, change: dict[str, Any] | None = None, **more: Any) -> str:
    settings = {BLOCKS[kind]: GOOD[kind] | (change or {})}
    return rubric_version(Rubric.model_validate({"name": "good", "type": kind} | settings | more))


@pytest.mark.parametrize("kind", GOOD)
def test_a_version_is_eight_hex_digits_whatever_the_name(kind: RubricType) -> None:
    """A renamed rubric is the same criterion."""
    assert re.fullmatch(r"[0-9a-f]{8}", version(kind))
    assert version(kind, name="other") == version(kind)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ExactMatch", {"ignoreCase": False}),
        ("ExactMatch", {"reference": {"dataset": {"uri": "https://elsewhere.example/x", "sha256": SHA}}}),
        ("Contains", {"any": ["b", "a"]}),
        ("Regex", {"mustMatch": True}),
        ("JSONSchema", {"schemaRef": {"name": "moved", "key": "a.json", "sha256": SHA}}),
        ("Judge", {"scale": {"min": 1, "max": 5}}),
        ("Judge", {"budgetPerHour": 600}),
        ("Judge", {"endpoint": GOOD["Judge"]["endpoint"] | {"apiKeyRef": {"name": "keys", "key": "new"}}}),
    ],
)
def test_what_decides_nothing_keeps_the_version(kind: RubricType, change: dict[str, Any]) -> None:
    """A default written out, another order of a set, another place or key: evidence stays."""
    assert version(kind, change) == version(kind)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ExactMatch", {"extract": []}),
        ("ExactMatch", {"ignoreCase": True}),
        ("ExactMatch", {"reference": {"dataset": {"uri": "configmap://refs", "sha256": "b" * 64}}}),
        ("Contains", {"any": [], "all": ["a", "b"]}),
        ("Regex", {"mustMatch": False}),
        ("JSONSchema", {"schemaRef": {"name": "schemas", "sha256": "b" * 64}}),
        ("Length", {"minCharacters": 1}),
        ("Refusal", {"patterns": ["no way"]}),
        ("Judge", {"passAtLeast": 5}),
        ("Judge", {"endpoint": {"url": "https://judge.example/v1", "model": "small"}}),
    ],
)
def test_what_changes_a_verdict_changes_the_version(kind: RubricType, change: dict[str, Any]) -> None:
    """Old evidence falls away by itself."""
    assert version(kind, change) != version(kind)


def test_intents_are_part_of_it_as_a_set() -> None:
    """Whom a rubric is about decides what its shares mean."""
    law, both = {"intents": ["law"]}, {"intents": ["law", "math"]}
    assert version("Length", when=law) not in {version("Length"), version("Length", when=both)}
    assert version("Length", when={"intents": ["math", "law"]}) == version("Length", when=both)
    assert version("Length", when={"intents": []}) == version("Length")
