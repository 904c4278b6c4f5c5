"""The Kubernetes API conventions, held by every field of the generated CRDs. No server needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pointsman.api.crd import KINDS, crd, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Schema = dict[str, Any]


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield every field below a schema with its path; items of a list as `path[]`."""
    for name, member in schema.get("properties", {}).items():
        below = f"{path}.{name}"
        yield below, member
        yield from fields(member, below)
        if "items" in member:
            yield f"{below}[]", member["items"]
            yield from fields(member["items"], f"{below}[]")


DEFINITIONS = [crd(model) for model in KINDS]
FIELDS = [
    found
    for definition in DEFINITIONS
    for found in fields(
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], definition["spec"]["names"]["kind"]
    )
]
each_crd = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d["metadata"]["name"])


def breaking(holds: Callable[[str, Schema], bool], kind: str = "") -> list[str]:
    """Return the paths of the fields (of one JSON type, or all) for which a convention does not hold."""
    return [path for path, schema in FIELDS if kind in {"", schema["type"]} and not holds(path, schema)]


def last(path: str) -> str:
    """Return a field's own name."""
    return path.rsplit(".", 1)[-1].removesuffix("[]")


def test_there_are_fields_to_look_at() -> None:
    """The walk reaches both kinds, lists and status: an empty walk would hold every convention."""
    paths = {path for path, _ in FIELDS}
    assert "RoutingPolicy.spec.strategy.classifier.thresholds[].minScorePermille" in paths
    assert "RoutingPolicy.status.conditions[].reason" in paths
    assert "RoutingPolicyRevision.spec.tiers[].endpoints[].url" in paths


def test_every_field_is_described() -> None:
    """`kubectl explain` has a sentence for every field; metadata is Kubernetes' own."""

    def holds(path: str, schema: Schema) -> bool:
        return path.endswith((".metadata", "[]")) or schema["description"].strip().endswith((".", ")"))

    assert breaking(holds) == []


def test_there_are_no_floats() -> None:
    """Numbers are integers; shares are permille, prices decimal strings."""
    types = {"object", "array", "string", "integer", "boolean"}
    assert breaking(lambda _, schema: schema["type"] in types) == []
    allowed = {"targetCPUPercent"}  # what an autoscaler of Kubernetes is told, in its own unit
    shares = re.compile(r"[pP]ercent|Ratio$|[fF]raction")
    assert breaking(lambda path, _: last(path) in allowed or not shares.search(last(path))) == []


def test_there_are_no_nulls_and_no_defaults_but_of_a_status_that_is_not_there() -> None:
    """A default in a spec would change every stored object with an upgrade, and start rollouts."""
    refused = {"nullable", "title", "$ref", "anyOf", "oneOf", "allOf", "not"}
    assert breaking(lambda _, schema: schema.keys().isdisjoint(refused)) == []
    defaults = {path: schema["default"] for path, schema in FIELDS if "default" in schema}
    kinds = ("RoutingPolicy", "RoutingGateway", "TritonPool")
    assert defaults == {f"{kind}.status": {"observedGeneration": -1} for kind in kinds}


def test_there_are_no_maps() -> None:
    """What a user keys is a list with a key: server-side apply merges it by entry.

    But for what is passed on to Kubernetes' own kinds, which have maps there.
    """
    refused = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"}
    passed_on = {"nodeSelector", "matchLabels", "annotations", "requests", "limits"}
    assert breaking(lambda path, s: last(path) in passed_on or s.keys().isdisjoint(refused)) == []


def test_lists_are_bounded_and_say_how_they_merge() -> None:
    """Every list has a type and a bound; a map's keys are required, a set's items are scalars."""

    def holds(_: str, schema: Schema) -> bool:
        items = schema["items"]
        fits: dict[str, bool] = {
            "map": set(schema.get("x-kubernetes-list-map-keys", [])) <= set(items.get("required", [])),
            "set": items["type"] in {"string", "integer"},
            "atomic": True,
        }
        return schema["maxItems"] <= 128 and fits[schema["x-kubernetes-list-type"]]

    assert breaking(holds, "array") == []


def test_strings_are_bounded() -> None:
    """A bound on every text: the CEL budget and the size of objects depend on it."""

    def holds(path: str, schema: Schema) -> bool:
        closed = "enum" in schema or schema.get("format") == "date-time"
        return closed or last(path) in {"apiVersion", "kind"} or schema["maxLength"] <= 32768

    assert breaking(holds, "string") == []


def test_numbers_are_bounded() -> None:
    """Every integer has a least value, and all but generations a greatest."""

    def holds(path: str, schema: Schema) -> bool:
        return "minimum" in schema and ("maximum" in schema or last(path) == "observedGeneration")

    assert breaking(holds, "integer") == []


@pytest.mark.parametrize(("name", "text"), files().items(), ids=files())
def test_crds_are_short(name: str, text: str) -> None:
    """Less than 100 kB each, as a file and so in every tool's copy of it; a line holds one value."""
    assert len(text.encode()) < 100_000, name


def test_names() -> None:
    """Fields are camelCase; no `phase` (a step's `state` says what holds it); references have a name."""
    assert breaking(lambda path, _: re.fullmatch(r"[a-z][a-zA-Z0-9]*", last(path)) is not None) == []
    assert breaking(lambda path, _: last(path) != "phase") == []
    assert (
        breaking(lambda path, _: last(path) != "state" or path.endswith(("step.state", "Step.state"))) == []
    )
    assert breaking(lambda path, _: not last(path).endswith(("ObjectReference", "References"))) == []

    def holds(path: str, schema: Schema) -> bool:
        return not path.endswith("Ref") or "name" in schema["required"]

    assert breaking(holds) == []


def test_patterns_only_where_no_user_writes() -> None:
    """A pattern answers with a regular expression: what users write has a rule with words instead."""
    assert breaking(lambda path, schema: "pattern" not in schema or ".status." in path) == []


def test_every_rule_has_words() -> None:
    """Each rule says in one line what to do; none shows its expression alone."""

    def holds(_: str, schema: Schema) -> bool:
        rules = schema.get("x-kubernetes-validations", [])
        return all(len(r["message"]) > 20 and "\n" not in r["message"] for r in rules)

    assert breaking(holds) == []


@each_crd
def test_names_of_the_kind(definition: Schema) -> None:
    """Short names, category, plural in lower case, namespaced; the file name follows group and plural."""
    spec = definition["spec"]
    names = spec["names"]
    assert names["shortNames"]
    assert names["categories"] == ["pointsman"]
    assert (names["plural"], names["singular"]) == (names["plural"].lower(), names["kind"].lower())
    assert spec["scope"] == "Namespaced"
    assert yaml.safe_load(files()[f"{spec['group']}_{names['plural']}.yaml"]) == definition


@each_crd
def test_one_version_is_served_and_stored(definition: Schema) -> None:
    """There is one version, it is stored, and a kind with a status has the subresource."""
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    has_status = "status" in version["schema"]["openAPIV3Schema"]["properties"]
    assert ("status" in version.get("subresources", {})) == has_status


@each_crd
def test_columns(definition: Schema) -> None:
    """The age is shown; a kind with conditions shows readiness first, and why."""
    (version,) = definition["spec"]["versions"]
    columns = [c["name"] for c in version["additionalPrinterColumns"]]
    assert "Age" in columns
    status = version["schema"]["openAPIV3Schema"]["properties"].get("status", {})
    if "conditions" in status.get("properties", {}):
        assert columns[0] == "Ready"
        assert "Reason" in columns


@each_crd
def test_metadata_is_left_to_kubernetes(definition: Schema) -> None:
    """The schema says no more of metadata than that it is an object."""
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["metadata"] == {"type": "object"}


def test_conditions_are_a_map_by_type() -> None:
    """Two writers of two conditions do not overwrite each other; entries are metav1.Condition."""
    conditions = dict(FIELDS)["RoutingPolicy.status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["properties"]) == {
        "type",
        "status",
        "observedGeneration",
        "lastTransitionTime",
        "reason",
        "message",
    }
