"""EndpointSlices as their controller writes them, and who is behind the Service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.kube.endpoints import Endpoint, endpoints_of

READY: dict[str, Any] = {"ready": True, "serving": True, "terminating": False}


def pod(ip: str, name: str = "", **conditions: Any) -> dict[str, Any]:
    """Return one entry of a slice."""
    target = {"targetRef": {"kind": "Pod", "name": name}} if name else {}
    return {"addresses": [ip], "conditions": conditions or READY, **target}


def slice_of(
    *pods: dict[str, Any], name: str = "xds-1", family: str = "IPv4", port: int = 9090
) -> dict[str, Any]:
    """Return a slice of the Service xds."""
    labels = {"kubernetes.io/service-name": "xds", "pointsman.dev/gateway": "eu"}
    ports = [{"name": "http", "port": port}, {"name": "grpc", "port": 18000}]
    return {
        "metadata": {"name": name, "labels": labels},
        "addressType": family,
        "ports": ports,
        "endpoints": list(pods),
    }


def test_an_endpoint_knows_addresses_conditions_and_labels() -> None:
    """Ports go by name; the Service's labels are at hand; a port of another name is none."""
    (found,) = endpoints_of([slice_of(pod("10.0.0.1", "a"))])
    assert found.address("http") == "10.0.0.1:9090"
    assert found.address("metrics") is None
    assert (found.service, found.pod, found.label("pointsman.dev/gateway")) == ("xds", "a", "eu")
    assert (found.ready, found.serving, found.terminating) == (True, True, False)


def test_addresses_of_version_6_are_bracketed() -> None:
    """As URLs want them."""
    (found,) = endpoints_of([slice_of(pod("fd00::1"), family="IPv6")])
    assert found.address("http") == "[fd00::1]:9090"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"ready": None}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
        ({"ready": False, "serving": False, "terminating": True}, (False, False, True)),
    ],
)
def test_what_is_not_told_means_ready(conditions: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    """As the API's own words say."""
    (found,) = endpoints_of([slice_of(pod("10.0.0.1", **conditions))])
    assert (found.ready, found.serving, found.terminating) == expected


def test_who_is_in_two_slices_is_there_once() -> None:
    """Of two words about one address the ready one counts, in whichever order they come."""
    old, new = slice_of(pod("10.0.0.1", "a", ready=False), name="1"), slice_of(pod("10.0.0.1", "a"), name="2")
    assert (
        [e.ready for e in endpoints_of([old, new])] == [e.ready for e in endpoints_of([new, old])] == [True]
    )


def test_a_pod_of_two_ip_families_is_there_once() -> None:
    """Its version 4 address is taken."""
    slices = [slice_of(pod("fd00::1", "a"), name="6", family="IPv6"), slice_of(pod("10.0.0.1", "a"))]
    assert [e.ip for e in endpoints_of(slices)] == ["10.0.0.1"]


def test_slices_without_endpoints_or_with_names_are_nobody() -> None:
    """The placeholder of a Service without pods, and external names."""
    empty = slice_of() | {"endpoints": None}
    assert endpoints_of([empty, slice_of(pod("example.com"), family="FQDN")]) == ()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8), st.randoms())
def test_the_order_of_slices_does_not_matter(pods: list[tuple[str, bool]], random: Any) -> None:
    """The same slices in any order give the same endpoints, each once."""
    slices = [
        slice_of(pod(f"10.0.0.{ord(name)}", name, ready=ready), name=str(n))
        for n, (name, ready) in enumerate(pods)
    ]
    found = endpoints_of(slices)
    random.shuffle(slices)
    assert endpoints_of(slices) == found
    assert {e.pod: e.ready for e in found} == {
        name: any(ready for other, ready in pods if other == name) for name, _ in pods
    }
    assert all(isinstance(e, Endpoint) for e in found)
