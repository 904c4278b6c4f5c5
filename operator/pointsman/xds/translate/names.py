"""Names of Envoy's clusters, listeners, filters and route keys, all made from the plan's content names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.plan.types import digest
from pointsman.xds.types import SHADOW_ROUTES

if TYPE_CHECKING:
    from pointsman.plan.types import ArmPlan, ListenerPlan, TierPlan

ENTRY: Final = "entry"
"""The entry listener, and the route configuration of every listener that clients connect to."""
SHADOW: Final = SHADOW_ROUTES
"""The shadow listener, which a bootstrap may have, and its route configuration, which every gateway has."""
DISPATCH: Final = "pointsman.dispatch"
DECIDE: Final = "pointsman.decide"
REWRITE: Final = "pointsman.rewrite"
NO_POLICY: Final = "pointsman-no-policy"
"""A cluster that never exists: where a request ends that belongs to no policy."""


def entry_listener(listener: ListenerPlan) -> str:
    """Return a gateway listener's name: by its port, so that no change makes two claim the same one."""
    return f"{ENTRY}-{listener.port}"


def is_front(name: str) -> bool:
    """Tell whether a listener or secret is the gateway's own, and no policy's."""
    return name == ENTRY or name.startswith((f"{ENTRY}-", "certificate:"))


def tier_listener(tier: TierPlan) -> str:
    """Return the tier's internal listener's name, which is also that of the cluster that leads to it."""
    return f"tier-{tier.id}"


def upstream_cluster(tier: TierPlan) -> str:
    """Return the cluster of the tier's own endpoints."""
    return f"upstream-{tier.id}"


def failover_cluster(tier: TierPlan, strong: TierPlan) -> str:
    """Return the composite cluster that tries `tier` first and `strong` after it."""
    return f"failover-{tier.name}-{digest([tier.id, strong.id])}"


def direct_cluster(tier: TierPlan, strong: TierPlan) -> str:
    """Return the cluster of the short way to a tier's endpoints, which no listener is on (see `direct`)."""
    return upstream_cluster(tier) if tier == strong else f"direct-{tier.name}-{digest([tier.id, strong.id])}"


def route_key(arm: ArmPlan, tier: TierPlan) -> str:
    """Return what `Key.ROUTE` says when an arm chose `tier`; equal for arms that would serve it alike."""
    strong = arm.tiers[-1]
    return tier_listener(tier) if tier == strong else failover_cluster(tier, strong)
