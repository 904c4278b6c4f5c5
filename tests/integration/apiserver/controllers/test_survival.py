"""What the operator survives: cuts between writes, conflicts, leftovers, broken neighbours; its rest."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from operator_kit import (
    Cluster,
    Operator,
    bundle,
    classifier_spec,
    condition,
    eventually,
    is_promoted,
    pinned_spec,
    sha256,
    shown,
)
from pointsman.controllers import watching
from pointsman.kube.resources import POLICIES, REVISIONS
from pointsman.lab.triton import Triton
from pointsman.rollout.revisions import POLICY_LABEL
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.triton]


def two_policies(content: bytes, triton: Triton) -> dict[str, dict[str, Any]]:
    spec = classifier_spec("configmap://bundle", sha256(content), [triton.http_url], model="a")
    return {"support": spec, "pinned": pinned_spec(model="b")}


async def make(cluster: Cluster, specs: dict[str, dict[str, Any]]) -> None:
    for name, spec in specs.items():
        await cluster.apply(spec, name)


async def outcome(cluster: Cluster, specs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return what is left at the end: statuses, and how many revisions each policy owns."""
    end = {}
    for name in specs:
        policy = await cluster.policy(name)
        revisions = await cluster.revisions(name)
        owners = {r["metadata"]["ownerReferences"][0]["uid"] for r in revisions}
        assert owners == {policy["metadata"]["uid"]}
        end[name] = f"{shown(policy)} {sorted(r['metadata']['name'] for r in revisions)}"
    return end


async def test_a_cut_after_any_write_changes_nothing_in_the_end(
    cluster: Cluster, tritons: list[Triton]
) -> None:
    """Killed right after the n-th write, for every n, the next process gets to the same state."""
    content = bundle(mark="cut")
    await cluster.config_map("bundle", content)
    specs = two_policies(content, tritons[0])
    expected: dict[str, str] = {}
    writes = 1
    for n in range(20):
        # each round begins with leftovers of the policies of the round before: same names, other uids
        await make(cluster, specs)
        async with cluster.operator() as operator:
            operator.client.cut_after = n or None
            if n:
                await eventually(lambda: died_or_done(operator, specs), f"write {n}")
            else:
                for name in specs:
                    await operator.promoted(name)
                await operator.settled()
                expected, writes = await outcome(cluster, specs), operator.client.writes
        async with cluster.operator() as operator:
            for name in specs:
                await operator.promoted(name)
            await eventually(partial(same, cluster, specs, expected), f"the same end after write {n}")
        for name in specs:
            await cluster.delete(name)
        if n > writes + 2:  # rounds after the first have leftovers to replace, which are writes, too
            break
    assert n > 6


async def died_or_done(operator: Operator, specs: dict[str, Any]) -> bool | None:
    if operator.client.is_cut:
        return True
    policies = [await operator.cluster.policy(name) for name in specs]
    return all(is_promoted(policy) for policy in policies) or None


async def same(cluster: Cluster, specs: dict[str, Any], expected: dict[str, str]) -> bool | None:
    try:
        return (await outcome(cluster, specs) == expected) or None
    except AssertionError:
        return None


async def test_a_conflict_is_observed_again(cluster: Cluster) -> None:
    """A spec that changes under a status write is decided on anew: the newer spec wins."""
    await cluster.apply(pinned_spec("one"))
    async with cluster.operator() as operator:
        raced = 0

        async def race(verb: str) -> None:
            nonlocal raced
            if verb == "patch" and raced < 3:
                raced += 1
                await cluster.admin.patch(
                    POLICIES, "support", cluster.namespace, {"metadata": {"labels": {"n": str(raced)}}}
                )

        operator.client.before_write = race
        await cluster.change(**pinned_spec("two"))
        await operator.promoted()
        assert raced == 3
        assert operator.metric("pointsman_operator_reconciles_total", result="conflict") >= 1
        assert operator.metric("pointsman_operator_reconciles_total", result="error") == 0


def revision(name: str, policy: str) -> dict[str, Any]:
    """Return a revision that no policy of ours made."""
    owner = {
        "apiVersion": POLICIES.api_version,
        "kind": POLICIES.kind,
        "name": policy,
        "uid": "00000000-0000-0000-0000-000000000000",
        "controller": True,
    }
    return {
        "apiVersion": REVISIONS.api_version,
        "kind": REVISIONS.kind,
        "metadata": {"name": name, "labels": {POLICY_LABEL: policy}, "ownerReferences": [owner]},
        "spec": {
            "policyRef": {"name": policy},
            "tiers": pinned_spec()["tiers"],
            "strategy": pinned_spec()["strategy"],
        },
    }


async def test_revisions_of_nobody_are_collected(cluster: Cluster) -> None:
    """A revision whose policy is gone is deleted by the operator itself: some clusters have no collector."""
    await cluster.admin.create(REVISIONS, revision("ghost-0123456789", "ghost"), cluster.namespace)
    async with cluster.operator():

        async def gone() -> bool | None:
            return not await cluster.revisions("ghost") or None

        await eventually(gone, "the orphan is gone")


async def test_a_name_taken_by_a_stranger_is_cleared(cluster: Cluster) -> None:
    """Somebody's revision under the very name that the policy needs is replaced, not adopted."""
    async with cluster.operator() as operator:
        await cluster.apply(pinned_spec())
        name = (await operator.promoted())["status"]["stableRevision"]
    await cluster.delete()
    await cluster.admin.delete(REVISIONS, name, cluster.namespace)
    await cluster.admin.create(REVISIONS, revision(name, "another"), cluster.namespace)
    policy = await cluster.apply(pinned_spec())
    async with cluster.operator() as operator:
        await operator.promoted()
        (mine,) = await cluster.revisions()
        assert mine["metadata"]["name"] == name
        assert mine["metadata"]["ownerReferences"][0]["uid"] == policy["metadata"]["uid"]
        assert operator.metric("pointsman_operator_reconciles_total", result="error") == 0


async def test_the_last_ten_revisions_are_kept(cluster: Cluster) -> None:
    """Older ones are deleted, never one that is in force."""
    await cluster.apply(pinned_spec("t0"))
    async with cluster.operator() as operator:
        for n in range(1, 13):
            await cluster.change(**pinned_spec(f"t{n}"))
            await operator.promoted()

        async def pruned() -> bool | None:
            return len(await cluster.revisions()) == 10 or None

        await eventually(pruned, "two are gone")
        names = {r["metadata"]["name"] for r in await cluster.revisions()}
        assert (await cluster.policy())["status"]["stableRevision"] in names


async def test_twenty_policies_one_broken_and_then_rest(
    cluster: Cluster, tritons: list[Triton], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nineteen are in force however ill the twentieth is; looking at all of them again writes nothing."""
    monkeypatch.setattr(watching, "RESYNC_S", 2.0)  # the whole lists of a quarter of an hour in seconds
    content = bundle(mark="twenty")
    await cluster.config_map("bundle", content)
    urls = [triton.http_url for triton in tritons]
    for n in range(19):
        spec = classifier_spec("configmap://bundle", sha256(content), urls, threshold=500 + n, model=f"m{n}")
        await cluster.apply(spec, f"p{n}")
    broken = classifier_spec("configmap://missing", sha256(b"x"), ["http://127.0.0.1:9"], model="broken")
    await cluster.apply(broken, "broken")
    async with cluster.operator() as operator:
        for n in range(19):
            await operator.promoted(f"p{n}", deadline_s=60)
        await operator.condition("ClassifierReady", "BundleNotFound", "broken")
        assert "traffic" not in (await cluster.policy("broken"))["status"]
        assert operator.metric("pointsman_operator_triton_loads_total", outcome="ok") == len(tritons)
        await operator.settled()
        writes, version = operator.client.writes, await newest(cluster)
        looks = reconciles(operator)
        await until(lambda: reconciles(operator) >= looks + 3 * 20, 60, what="three looks at each policy")
        assert (operator.client.writes, await newest(cluster)) == (writes, version)
        ready = condition(await cluster.policy("p7"), "ClassifierReady")
        assert ready["status"] == "True"
    async with cluster.operator() as operator:
        await operator.condition("ClassifierReady", "BundleNotFound", "broken")
        await until(lambda: len(operator.controllers.pool.declared()) == 20)
        await operator.settled()
        assert (operator.client.writes, await newest(cluster)) == (0, version)


def reconciles(operator: Operator) -> float:
    return operator.metric("pointsman_operator_reconciles_total", result="ok")


async def newest(cluster: Cluster) -> int:
    """Return the greatest resourceVersion of our objects in the namespace."""
    listings = [await cluster.admin.list(kind, cluster.namespace) for kind in (POLICIES, REVISIONS)]
    return max(int(item["metadata"]["resourceVersion"]) for found in listings for item in found.items)
