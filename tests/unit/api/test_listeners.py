"""Where a gateway's listeners are in its pods: nothing moves one that stays."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pointsman import install
from pointsman.api.v1alpha1.routing_gateway import MOST_LISTENERS, RoutingGateway

PORTS = range(install.ENVOY_FIRST_PORT, install.ENVOY_FIRST_PORT + MOST_LISTENERS)
NAMES = st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=MOST_LISTENERS, unique=True)
ANYTHING = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcdefghijkl"), "port": st.integers(9_995, 10_012)}),
    max_size=MOST_LISTENERS,
)


def bound(names: list[str], status: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return where the listeners of these names are, by what the status says."""
    listeners = [{"name": name, "port": 80 + i, "protocol": "HTTP"} for i, name in enumerate(names)]
    raw = {"metadata": {"name": "g"}, "spec": {"listeners": listeners}, "status": {"listeners": status}}
    return [each.to_kube() for each in RoutingGateway.model_validate(raw).bound()]


@given(NAMES, ANYTHING)
def test_each_listener_has_a_port_of_its_own_whatever_the_status_says(
    names: list[str], status: list[dict[str, Any]]
) -> None:
    """Also a status that somebody garbled; the ports are those that the NetworkPolicy lets in."""
    found = bound(names, status)
    assert [each["name"] for each in found] == names
    assert len({each["port"] for each in found}) == len(names)
    assert {each["port"] for each in found} <= set(PORTS)
    assert bound(names, found) == found


@given(st.lists(NAMES, min_size=2, max_size=6))
def test_a_listener_that_stays_is_where_it_was(edits: list[list[str]]) -> None:
    """Whatever is added, taken away or put in another order."""
    status: list[dict[str, Any]] = []
    for names in edits:
        before = {each["name"]: each["port"] for each in status}
        status = bound(names, status)
        assert all(before.get(each["name"], each["port"]) == each["port"] for each in status)


def test_an_empty_status_binds_in_the_order_of_the_spec() -> None:
    """As versions did that kept no ports in the status: an upgrade moves nothing."""
    assert [each["port"] for each in bound(["b", "a", "c"], [])] == list(PORTS[:3])
