"""`pointsman.dev/v1alpha1`: one file per kind."""

from pointsman.api.v1alpha1.meta import API_VERSION, GROUP, VERSION
from pointsman.api.v1alpha1.revision import RoutingPolicyRevision, RoutingPolicyRevisionSpec
from pointsman.api.v1alpha1.rollout_action import RolloutAction
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy, RoutingPolicySpec
from pointsman.api.v1alpha1.status import RoutingPolicyStatus

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "RolloutAction",
    "RoutingPolicy",
    "RoutingPolicyRevision",
    "RoutingPolicyRevisionSpec",
    "RoutingPolicySpec",
    "RoutingPolicyStatus",
]
