"""Values that are wrong are refused before anything is applied, by a message that names them."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from chart_kit import CHART, CRDS_CHART, ROOT, Helm, HelmError

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a typo at the top": ({"operater": {}}, "at ''", "operater"),
    "a typo below": ({"operator": {"replica": 3}}, "/operator", "replica"),
    "a typo in a toleration": (
        {"xds": {"tolerations": [{"efect": "NoSchedule"}]}},
        "/xds/tolerations/0",
        "efect",
    ),
    "another mode": ({"prometheus": {"mode": "bundeled"}}, "/prometheus/mode", "'existing', 'bundled'"),
    "another way of certificates": (
        {"certificates": {"mode": "certmanager"}},
        "/certificates/mode",
        "'self'",
    ),
    "a number as text": ({"operator": {"replicas": "2"}}, "/operator/replicas", "got string, want integer"),
    "no operator": ({"operator": {"replicas": 0}}, "/operator/replicas", "minimum"),
    "no quantity": ({"evaluator": {"persistence": {"size": "20GB"}}}, "/evaluator/persistence/size", "20GB"),
    "no duration": ({"evaluator": {"retention": "30d"}}, "/evaluator/retention", "30d"),
    "no digest": ({"image": {"digest": "sha256:beef"}}, "/image/digest", "sha256:beef"),
    "no namespace": ({"rbac": {"namespaces": ["Chat"]}}, "/rbac/namespaces/0", "Chat"),
    "a name too long for Services": ({"gateway": {"name": "g" * 36}}, "/gateway/name", "maxLength"),
    "root": ({"pods": {"runAsUser": 0}}, "/pods/runAsUser", "minimum"),
}


def generator() -> ModuleType:
    """Load charts/generate.py."""
    spec = importlib.util.spec_from_file_location("generate_charts", ROOT / "charts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, name: str) -> None:
    """Where it is, and what is wrong with it."""
    values, where, what = WRONG[name]
    with pytest.raises(HelmError) as refused:
        helm.render(values)
    assert where in str(refused.value)
    assert what in str(refused.value)


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART], ids=lambda chart: chart.name)
def test_the_schema_is_one(chart: Any) -> None:
    """It is sound draft-07, and every object of fixed keys is closed and describes each of them."""
    schema = json.loads((chart / "values.schema.json").read_text("utf-8"))
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)
    for path, node in objects_of(schema, ""):
        assert node["additionalProperties"] is False, path
        for name, member in node["properties"].items():
            assert member.get("description"), f"{path}.{name}"


def objects_of(node: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Return every schema of an object with fixed keys."""
    if isinstance(node, list):
        return [found for each in node for found in objects_of(each, path)]
    if not isinstance(node, dict):
        return []
    own = [(path, node)] if isinstance(node.get("properties"), dict) and node.get("type") == "object" else []
    return own + [found for name, each in node.items() for found in objects_of(each, f"{path}/{name}")]


def test_what_is_generated_is_fresh() -> None:
    """CRD templates, schema descriptions and READMEs are what `make generate` writes."""
    generate = generator()
    assert [str(path) for path, _ in generate.stale(generate.wanted())] == []


def test_a_value_without_a_comment_is_no_value() -> None:
    """A key that nobody explains stops the generator, by its name."""
    generate = generator()
    documented = generate.read_comments("# Explained.\ngroup:\n  # So is this.\n  known: 1\n  silent: 2\n")
    schema = {
        "properties": {
            "group": {"type": "object", "properties": {"known": {"type": "integer"}, "silent": {}}},
        }
    }
    with pytest.raises(generate.GenerateError, match=r"group\.silent has no comment"):
        generate.described(schema, documented)
    assert documented.comments == {"group": "Explained.", "group.known": "So is this."}
