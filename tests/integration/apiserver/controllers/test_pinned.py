"""Policies without a classifier: what the operator does with the API server alone."""

from __future__ import annotations

import pytest

from operator_kit import Cluster, condition, eventually, pinned_spec

pytestmark = pytest.mark.apiserver


async def test_a_pinned_policy_is_in_force_at_once(cluster: Cluster) -> None:
    """A revision is frozen, owned by the policy, and takes all of the traffic; no classifier is needed."""
    async with cluster.operator() as operator:
        await cluster.apply(pinned_spec())
        policy = await operator.promoted()
        (revision,) = await cluster.revisions()
        assert revision["metadata"]["name"] == policy["status"]["stableRevision"]
        (owner,) = revision["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (policy["metadata"]["uid"], True)
        assert revision["spec"]["tiers"][0]["timeouts"] == {"idle": "60s", "total": "10m"}
        assert condition(policy, "ClassifierReady")["reason"] == "NotNeeded"
        assert condition(policy, "Accepted")["status"] == "True"
        assert condition(policy, "Programmed")["reason"] == "XdsUnreachable"
        assert not policy["metadata"].get("finalizers")
        assert not policy["metadata"].get("annotations")
        await eventually(lambda: cluster.events("Promoted"), "the event is posted")
        assert await cluster.events() == ["Promoted", "RevisionFrozen"]
