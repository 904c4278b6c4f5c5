"""Freezing: from a policy's spec to the immutable revision that it asks for. Pure.

The revision's name carries a hash of what decides an answer, in a canonical form with every default resolved:
writing a default out, or a version that writes the same in another way, starts no rollout. Prices, keys,
Triton's address and the bundle's URI are stored but not hashed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from pointsman.api.v1alpha1.meta import API_VERSION, seconds
from pointsman.api.v1alpha1.revision import PolicyRef, RoutingPolicyRevision, RoutingPolicyRevisionSpec
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.tiers import TierTimeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.api.v1alpha1.routing_policy import RoutingPolicySpec
    from pointsman.api.v1alpha1.strategy import Strategy
    from pointsman.api.v1alpha1.tiers import Tier

DEFAULT_DEADLINE: Final = "50ms"
DEFAULT_IDLE: Final = "60s"
DEFAULT_TOTAL: Final = "10m"

HASH_DIGITS: Final = 10
POLICY_LABEL: Final = "pointsman.dev/policy"
"""Label of a revision: its policy's name, for `kubectl get rprev -l`."""


def revision_spec(policy: RoutingPolicy) -> RoutingPolicyRevisionSpec:
    """Return what the policy's spec asks for now, defaults written out."""
    spec = policy.spec
    return RoutingPolicyRevisionSpec(
        policy_ref=PolicyRef(name=policy.metadata.name),
        tiers=[_resolved_tier(tier) for tier in spec.tiers],
        strategy=_resolved_strategy(spec.strategy),
        triton=spec.triton,
    )


def revision_name(policy_name: str, spec: RoutingPolicyRevisionSpec | RoutingPolicySpec) -> str:
    """Return `<policy>-<10 hex digits>`: the same for every spec that decides alike."""
    decisive = {
        "tiers": [_decisive_tier(_resolved_tier(tier)) for tier in spec.tiers],
        "strategy": _decisive_strategy(_resolved_strategy(spec.strategy)),
    }
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{policy_name}-{hashlib.sha256(canonical.encode()).hexdigest()[:HASH_DIGITS]}"


def desired_name(policy: RoutingPolicy) -> str:
    """Return the name of the revision that the policy's spec asks for."""
    return revision_name(policy.metadata.name, policy.spec)


def manifest(policy: RoutingPolicy) -> dict[str, Any]:
    """Return the revision object to create, owned by the policy."""
    spec = revision_spec(policy)
    return {
        "apiVersion": API_VERSION,
        "kind": RoutingPolicyRevision.KIND,
        "metadata": {
            "name": revision_name(policy.metadata.name, spec),
            "namespace": policy.metadata.namespace,
            "labels": {POLICY_LABEL: policy.metadata.name},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": RoutingPolicy.KIND,
                    "name": policy.metadata.name,
                    "uid": policy.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,  # true would need the right to set finalizers on the policy
                }
            ],
        },
        "spec": spec.to_kube(),
    }


def owner_uid(metadata: Mapping[str, Any]) -> str:
    """Return the uid of the RoutingPolicy that controls an object, or "" (raw metadata in)."""
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("kind") == RoutingPolicy.KIND and reference.get("controller"):
            return str(reference.get("uid", ""))
    return ""


def _resolved_tier(tier: Tier) -> Tier:
    idle, total = _timeouts(tier)
    return tier.model_copy(update={"timeouts": TierTimeouts(idle=idle, total=total)})


def _timeouts(tier: Tier) -> tuple[str, str]:
    """Return a tier's idle and total time-out; one that is not given yields to the other: idle <= total."""
    given = tier.timeouts or TierTimeouts()
    idle = given.idle or min(DEFAULT_IDLE, given.total or DEFAULT_IDLE, key=seconds)
    return idle, given.total or max(DEFAULT_TOTAL, idle, key=seconds)


def _resolved_strategy(strategy: Strategy) -> Strategy:
    classifier = strategy.classifier
    if classifier is None:
        return strategy
    resolved = classifier.model_copy(update={"deadline": classifier.deadline or DEFAULT_DEADLINE})
    return strategy.model_copy(update={"classifier": resolved})


def _milliseconds(duration: str) -> int:
    return round(seconds(duration) * 1000)


def _decisive_tier(tier: Tier) -> dict[str, Any]:
    idle, total = _timeouts(tier)
    return {
        "name": tier.name,
        "endpoints": [endpoint.url for endpoint in tier.endpoints],
        "model": tier.model,
        "idleMs": _milliseconds(idle),
        "totalMs": _milliseconds(total),
    }


def _decisive_strategy(strategy: Strategy) -> dict[str, Any]:
    decisive: dict[str, Any] = {"type": strategy.type}
    if strategy.classifier is not None:
        classifier = strategy.classifier
        decisive["classifier"] = {
            "sha256": classifier.artifact.sha256,
            # keyed lists: their order means nothing
            "thresholds": {t.tier: t.min_score_permille for t in classifier.thresholds},
            "perIntent": {rule.intent: rule.tier for rule in classifier.per_intent},
            "deadlineMs": _milliseconds(classifier.deadline or DEFAULT_DEADLINE),
        }
    if strategy.pinned is not None:
        decisive["pinned"] = strategy.pinned.tier
    return decisive
