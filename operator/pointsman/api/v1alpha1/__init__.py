"""`pointsman.dev/v1alpha1`: one file per kind."""

from pointsman.api.v1alpha1.meta import API_VERSION, GROUP, VERSION
from pointsman.api.v1alpha1.revision import RoutingPolicyRevision, RoutingPolicyRevisionSpec
from pointsman.api.v1alpha1.rollout_action import RolloutAction
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy, RoutingPolicySpec
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.api.v1alpha1.triton_pool import TritonPool

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "RolloutAction",
    "RoutingGateway",
    "RoutingPolicy",
    "RoutingPolicyRevision",
    "RoutingPolicyRevisionSpec",
    "RoutingPolicySpec",
    "RoutingPolicyStatus",
    "TritonPool",
]
