"""Policies deleted, restored, sharing a host, or broken: the invariants hold in the whole stack."""

from __future__ import annotations

from typing import Any

import aiohttp

from pointsman.contract import ALWAYS_STRONG, Reason
from pointsman.lab.load import Outcome, Prompt, send
from stack import Bundle, Stack, condition, config_map
from wait import until_sync


async def _ask(stack: Stack, host: str, model: str = "auto", count: int = 10) -> list[Outcome]:
    """Send a few requests, one after another."""
    async with aiohttp.ClientSession() as session:
        target = stack.target(host, model)
        return [await send(session, target, Prompt(f"q{i}", f"question {i}"), f"s{i}") for i in range(count)]


async def test_a_recreated_policy_serves_strong_until_its_classifier_is_proven(
    stack: Stack, bundle: Bundle
) -> None:
    """Re-created while Triton is out of reach: no request meets the old revision before it is ready."""
    stack.apply(config_map("again-bundle", bundle))
    manifest = stack.policy("again", **stack.classified(bundle, "again-bundle"))
    stack.apply(manifest)
    first = stack.ready("again")["status"]["stableRevision"]
    stack.drop("again")

    nowhere = {"external": {"urls": ["http://127.0.0.1:9"]}}
    stack.apply(manifest | {"spec": manifest["spec"] | {"triton": nowhere}})
    until_sync(
        lambda: condition(stack.get("again"), "ClassifierReady").get("reason") == "TritonUnreachable", 20
    )
    # The same decisive spec has the same revision name; it is not in force.
    assert stack.get("again")["status"]["candidateRevision"] == first
    assert not stack.get("again")["status"].get("traffic")
    outcomes = await _ask(stack, "again.example.com")
    assert {(o.status, o.tier, o.revision, o.reason) for o in outcomes} == {
        (200, "strong", ALWAYS_STRONG, Reason.ALWAYS_STRONG.value)
    }
    stack.apply(manifest)
    assert stack.ready("again")["status"]["stableRevision"] == first
    outcomes = await _ask(stack, "again.example.com")
    assert {o.revision for o in outcomes} == {first}
    stack.drop("again")


async def test_a_policy_restored_without_status_is_safe_and_recovers(stack: Stack) -> None:
    """A backup restores policy and revision without status, with a dead owner: rebuilt, not adopted."""
    manifest = stack.policy("restored", strategy={"type": "Pinned", "pinned": {"tier": "cheap"}})
    stack.apply(manifest)
    name = stack.ready("restored")["status"]["stableRevision"]
    backup = next(r for r in stack.revisions("restored") if r["metadata"]["name"] == name)
    stack.drop("restored")
    until_sync(lambda: not stack.revisions("restored"), 20, what="the operator collects orphans itself")

    dead = backup["metadata"]["ownerReferences"][0]["uid"]
    metadata = {key: backup["metadata"][key] for key in ("name", "namespace", "ownerReferences")}
    stack.apply(backup | {"metadata": metadata})
    stack.apply(manifest)
    restored = stack.ready("restored")
    assert restored["status"]["traffic"] == [{"revision": name, "weightPermille": 1000}]
    owners = [r["metadata"]["ownerReferences"][0]["uid"] for r in stack.revisions("restored")]
    assert owners == [restored["metadata"]["uid"]]
    assert dead not in owners
    assert {o.tier for o in await _ask(stack, "restored.example.com")} == {"cheap"}
    stack.drop("restored")


async def test_two_policies_share_a_host_by_model(stack: Stack) -> None:
    """Two policies on one host answer for their own model each; a third model is nobody's."""
    for name, tier in (("share-a", "cheap"), ("share-b", "strong")):
        match = {"hostnames": ["share.example.com"], "models": [name]}
        stack.apply(stack.policy(name, match=match, strategy={"type": "Pinned", "pinned": {"tier": tier}}))
    stack.ready("share-a")
    stack.ready("share-b")
    assert {o.tier for o in await _ask(stack, "share.example.com", "share-a")} == {"cheap"}
    assert {o.tier for o in await _ask(stack, "share.example.com", "share-b")} == {"strong"}
    assert {o.status for o in await _ask(stack, "share.example.com", "share-c")} == {404}
    stack.drop("share-a")
    stack.drop("share-b")


async def test_the_older_policy_holds_a_host_and_model(stack: Stack) -> None:
    """Two policies want the same host and model: the holder keeps it, the other says who holds it."""
    first = stack.policy(
        "holder", host="held.example.com", strategy={"type": "Pinned", "pinned": {"tier": "cheap"}}
    )
    stack.apply(first)
    stack.ready("holder")
    stack.apply(stack.policy("intruder", host="held.example.com"))

    def accepted() -> dict[str, Any]:
        return condition(stack.get("intruder"), "Accepted")

    until_sync(lambda: accepted().get("reason") == "HostConflict", 20)
    assert "default/holder" in accepted()["message"]
    assert {o.tier for o in await _ask(stack, "held.example.com")} == {"cheap"}
    stack.drop("holder")
    stack.ready("intruder")
    stack.drop("intruder")


async def test_one_broken_policy_never_stops_the_others(stack: Stack, bundle: Bundle) -> None:
    """Of 20 policies one has a wrong digest: 19 become Ready, that one says why and serves strong."""
    stack.apply(config_map("many-bundle", bundle))
    good = [f"many-{i}" for i in range(19)]
    for name in good[:4]:
        stack.apply(stack.policy(name, **stack.classified(bundle, "many-bundle")))
    broken = stack.policy("many-broken", **stack.classified(bundle, "many-bundle"))
    broken["spec"]["strategy"]["classifier"]["artifact"]["sha256"] = "0" * 64
    stack.apply(broken)
    for name in good[4:]:
        stack.apply(stack.policy(name, **stack.classified(bundle, "many-bundle")))
    for name in good:
        stack.ready(name)
    found = stack.get("many-broken")
    assert condition(found, "ClassifierReady")["reason"] == "DigestMismatch"
    assert condition(found, "Ready")["status"] == "False"
    assert {o.tier for o in await _ask(stack, "many-broken.example.com")} == {"strong"}
    for name in [*good, "many-broken"]:
        stack.drop(name)
