"""Whether an object is as we want it: what others add is theirs, what they change is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pointsman.workloads.applied import APPLIED, drifted, is_applied, owns, stamped

WANTED = stamped(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {
            "template": {
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "envoy",
                            "args": ["--one", "--two"],
                            "resources": {"requests": {"cpu": "1000m"}, "limits": {"memory": "1024Mi"}},
                            "ports": [{"containerPort": 1}, {"name": "stats", "containerPort": 2}],
                        }
                    ],
                    "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Ki"}}],
                }
            }
        },
    }
)


def live() -> dict[str, Any]:
    """Return the object as an API server would give it: with defaults, in its own words, no kind."""
    found = copy.deepcopy(WANTED)
    del found["apiVersion"], found["kind"]
    found["metadata"]["resourceVersion"] = "7"
    pod = found["spec"]["template"]["spec"]
    del pod["automountServiceAccountToken"]
    pod["restartPolicy"] = "Always"
    envoy = pod["containers"][0]
    envoy["resources"] = {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    envoy["ports"][0]["protocol"] = "TCP"
    pod["volumes"][0]["emptyDir"]["sizeLimit"] = "1Mi"
    return found


def container(found: dict[str, Any]) -> dict[str, Any]:
    """Return the first container."""
    first: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return first


def test_defaults_and_other_words_are_no_difference() -> None:
    """What the API server adds, leaves out or writes another way does not make us write."""
    assert drifted(live(), WANTED) is None


def test_what_others_add_is_theirs() -> None:
    """A label, an annotation, a container, a port, a limit of another resource: left alone."""
    found = live()
    found["metadata"]["labels"]["theirs"] = "1"
    found["metadata"]["annotations"]["theirs"] = "1"
    found["spec"]["template"]["spec"]["containers"].insert(0, {"name": "theirs"})
    assert is_applied(found, WANTED)


@pytest.mark.parametrize("change", ["label", "args", "cpu", "port", "gone"])
def test_what_others_change_of_ours_is_seen(change: str) -> None:
    """Drift of any field that we want makes us write."""
    found = live()
    match change:
        case "label":
            found["metadata"]["labels"]["a"] = "c"
        case "args":
            container(found)["args"] = ["--one"]
        case "cpu":
            container(found)["resources"]["requests"]["cpu"] = "2"
        case "port":
            container(found)["ports"].pop(0)
        case _:
            found["spec"]["template"]["spec"]["containers"] = []
    assert drifted(found, WANTED) is not None


def test_the_path_of_what_differs_is_told() -> None:
    """The log says which field it was."""
    found = live()
    del found["spec"]["template"]["spec"]["volumes"]
    assert drifted(found, WANTED) == "spec.template.spec.volumes"


def test_a_field_that_we_want_no_more_makes_us_write() -> None:
    """The digest tells: everything that is still wanted may well be so."""
    fewer = copy.deepcopy(WANTED)
    del fewer["metadata"]["labels"], fewer["metadata"]["annotations"]
    again = stamped(fewer)
    assert again["metadata"]["annotations"][APPLIED] != WANTED["metadata"]["annotations"][APPLIED]
    assert not is_applied(live(), again)


def test_a_stamp_is_the_same_for_the_same_manifest() -> None:
    """Order of keys does not matter."""
    one = {"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}}
    other = {"spec": {"b": 2, "a": 1}, "metadata": {"name": "x"}}
    assert stamped(one) == stamped(other)


def test_who_owns_a_field_is_read_from_managed_fields() -> None:
    """Only server-side apply of that manager counts."""
    entry = {"manager": "pointsman", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert owns({"metadata": {"managedFields": [entry]}}, "pointsman", "spec", "replicas")
    assert not owns({"metadata": {"managedFields": [entry]}}, "other", "spec", "replicas")
    assert not owns({"metadata": {"managedFields": [entry]}}, "pointsman", "spec", "paused")
    assert not owns({"metadata": {}}, "pointsman", "spec", "replicas")
    update = entry | {"operation": "Update"}
    assert not owns({"metadata": {"managedFields": [update]}}, "pointsman", "spec", "replicas")
