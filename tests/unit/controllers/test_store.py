"""What the store believes: newest version, right uid, whole lists."""

from __future__ import annotations

from typing import Any

from pointsman.controllers.store import Store

SPEC: dict[str, Any] = {
    "gatewayRef": {"name": "default"},
    "match": {"hostnames": ["a.example.com"], "models": ["auto"]},
    "tiers": [{"name": "t", "endpoints": [{"url": "http://t/v1"}], "model": "m"}],
    "strategy": {"type": "Pinned", "pinned": {"tier": "t"}},
    "rollout": {"mode": "Direct"},
}


def policy(version: int, uid: str = "u-1", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "ns", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return {"metadata": metadata, "spec": SPEC | spec}


def revision(name: str, version: int, owner: str = "u-1") -> dict[str, Any]:
    reference = {"kind": "RoutingPolicy", "controller": True, "uid": owner}
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "ownerReferences": [reference],
    }
    spec = {"policyRef": {"name": "p"}, "tiers": SPEC["tiers"], "strategy": SPEC["strategy"]}
    return {"metadata": metadata, "spec": spec}


def test_an_older_version_is_not_believed() -> None:
    """Events that come late change nothing."""
    store = Store()
    assert store.put_policy(policy(7)) == "ns/p"
    store.put_policy(policy(5))
    found = store.policy("ns/p")
    assert found is not None
    assert found.resource_version == "7"


def test_the_deletion_of_an_earlier_object_of_that_name_is_not_this_ones() -> None:
    """A policy that was deleted and created again stays, whichever event comes first."""
    store = Store()
    store.put_policy(policy(9, uid="u-2"))
    store.drop_policy(policy(8, uid="u-1"))
    assert store.policy("ns/p") is not None
    store.drop_policy(policy(10, uid="u-2"))
    assert store.policy("ns/p") is None


def test_a_whole_list_tells_what_is_gone_but_not_of_what_is_younger() -> None:
    """What a list of version 20 lacks is gone, unless it was seen at a later version."""
    store = Store()
    store.put_policy(policy(7))
    store.put_revision(revision("p-1", 8))
    store.put_revision(revision("p-2", 30))
    assert not store.synced
    store.replace([], [], listed_at=20)
    assert store.synced
    assert store.policy("ns/p") is None
    assert [r.name for r in store.revisions("ns/p")] == ["p-2"]
    assert store.all_keys() == {"ns/p"}


def test_a_policy_that_cannot_be_read_is_kept_with_its_problem() -> None:
    """Its status and version are there, and the field that is wrong is named."""
    store = Store()
    store.put_policy(policy(7, strategy={"type": "Nonsense"}) | {"status": {"stableRevision": "p-1"}})
    found = store.policy("ns/p")
    assert found is not None
    assert found.policy is None
    assert found.problem.startswith("spec.strategy.type: ")
    assert found.status.stable_revision == "p-1"


def test_revisions_are_known_by_owner_oldest_first() -> None:
    """Whoever owns them, they come under the policy that they name."""
    store = Store()
    store.put_revision(revision("p-2", 12, owner="u-0"))
    store.put_revision(revision("p-1", 11))
    assert [(r.name, r.owner_uid) for r in store.revisions("ns/p")] == [("p-1", "u-1"), ("p-2", "u-0")]
    store.drop_revision(revision("p-1", 13))
    assert [r.name for r in store.revisions("ns/p")] == ["p-2"]
