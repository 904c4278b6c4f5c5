"""The tables that Envoy's scripts decide by: plain values, handed over as `LuaPerRoute.filter_context`.

Keys are read by the scripts under these very names. `id` names the content: a worker builds its own table
once per id and keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pointsman.plan.types import digest
from pointsman.xds.translate import direct, names
from pointsman.xds.translate.resources import json_string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.plan.types import ArmPlan, PolicyPlan, StickyPlan
    from pointsman.xds.translate.options import Options


def dispatch_context(
    models: Mapping[str, str], options: Options, split: Mapping[str, StickyPlan]
) -> dict[str, Any]:
    """Return a host's table: requested model → policy key, and the policy that has the host to itself.

    `split`: policies with several arms, and what the key is that their arms are chosen by.
    """
    policies = sorted(set(models.values()))
    table: dict[str, Any] = {"models": dict(sorted(models.items())), "budget": options.scan_budget}
    if len(policies) == 1:
        table["sole"] = policies[0]
    if split:
        table["split"] = {
            key: {"salt": sticky.salt, "header": sticky.header} for key, sticky in sorted(split.items())
        }
    return _named(table)


def decide_context(policy: PolicyPlan, arm: ArmPlan, options: Options) -> dict[str, Any]:
    """Return an arm's table: its tiers with their routes, and the rule that picks one (tier 1 is first)."""
    strong = arm.tiers[-1]
    position = {tier.name: i for i, tier in enumerate(arm.tiers, start=1)}
    table: dict[str, Any] = {
        "policy": policy.key,
        "revision": arm.revision,
        "tiers": [tier.name for tier in arm.tiers],
        "routes": [names.route_key(arm, tier) for tier in arm.tiers],
        # The short way, where there is one ("" where not), and what to put in place of the model on it.
        "direct": [
            names.direct_cluster(tier, strong) if direct.is_possible(tier, strong) else ""
            for tier in arm.tiers
        ],
        "models": [json_string(tier.model) for tier in arm.tiers],
    }
    if arm.label:
        table["rollout"] = arm.label
    if arm.pinned is not None:
        table["pinned"] = position[arm.pinned]
    classifier = arm.classifier
    if classifier is not None:
        table |= {
            "cluster": classifier.triton.id,
            "authority": classifier.triton.addresses[0],
            "path": f"/v2/models/{classifier.model}/infer",
            "deadline_ms": classifier.deadline_ms,
            "limit": options.classify_limit,
            "thresholds": [
                {"tier": position[tier], "permille": permille} for tier, permille in classifier.thresholds
            ],
            "intents": {intent: position[tier] for intent, tier in classifier.per_intent},
        }
    if options.capture and policy.capture is not None:
        table["capture"] = {"permille": policy.capture.sample_permille, "bytes": policy.capture.max_bytes}
    return _named(table)


def _named(table: dict[str, Any]) -> dict[str, Any]:
    return {"id": digest(table)} | table
