"""The generated CRDs in a real API server: accepted whole, served whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pointsman.api.crd import KINDS, object_schema
from pointsman.api.v1alpha1 import RoutingPolicy

if TYPE_CHECKING:
    from .conftest import Api

pytestmark = pytest.mark.apiserver


def test_the_crds_are_created_without_a_word_of_warning(api: Api) -> None:
    """The API server takes each CRD as it is: structural, within the CEL budget, nothing deprecated."""
    for name, answer in api.installed.items():
        assert answer.status == 201, (name, answer.body)
        assert answer.warnings == [], name
    assert len(api.installed) == len(KINDS)


def test_the_api_server_keeps_the_whole_schema(api: Api) -> None:
    """Nothing that we generate is dropped in silence: what is stored is what was sent."""
    for model in KINDS:
        stored = api.call(
            "GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{model.PLURAL}.pointsman.dev"
        )
        (version,) = stored.body["spec"]["versions"]
        assert version["schema"]["openAPIV3Schema"] == object_schema(model)


@pytest.mark.parametrize("name", ["quickstart", "full", "pinned"])
def test_a_good_spec_is_accepted_and_read_back_equal(
    api: Any, good: dict[str, dict[str, Any]], name: str
) -> None:
    """A good spec is stored unchanged: no default is added, nothing pruned, and our model reads all of it."""
    manifest = good[name]
    answer = api.create(manifest)
    assert (answer.status, answer.warnings) == (201, []), answer.body
    assert answer.body["spec"] == manifest["spec"]
    read = RoutingPolicy.model_validate(answer.body).to_kube()["spec"]
    assert _without_empty(read) == _without_empty(manifest["spec"])


def _without_empty(value: Any) -> Any:
    """Drop empty lists, which mean the same as an absent one."""
    if isinstance(value, dict):
        return {k: _without_empty(v) for k, v in value.items() if v != []}
    return [_without_empty(v) for v in value] if isinstance(value, list) else value


def test_the_full_spec_has_every_field(good: dict[str, dict[str, Any]]) -> None:
    """full.yaml sets each field of the spec but two that exclude others that it sets."""
    assert _unset(object_schema(RoutingPolicy)["properties"]["spec"], good["full"]["spec"], "") == {
        "strategy.pinned",
        "triton.managed",
    }


def _unset(schema: dict[str, Any], value: Any, path: str) -> set[str]:
    """Return the paths of the schema that the value sets nowhere."""
    if schema["type"] == "array":
        per_item = [_unset(schema["items"], item, path) for item in value]
        return set.intersection(*per_item) if per_item else {path}
    missing: set[str] = set()
    for name, member in schema.get("properties", {}).items():
        below = f"{path}.{name}".lstrip(".")
        missing |= {below} if name not in value else _unset(member, value[name], below)
    return missing
