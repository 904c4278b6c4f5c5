"""The short way to a tier: from the entry straight to its endpoints, where only host, key and model change.

A tier's internal listener is right in every case, but a second pass through a connection manager costs more
CPU than anything else that we add. When the decide script knows where the model is, it rewrites it itself and
takes the short way; whenever it does not know, or fails, the request takes the listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from pointsman.xds.translate import names
from pointsman.xds.translate.clusters import authority
from pointsman.xds.translate.resources import any_of, ms, true, uint

if TYPE_CHECKING:
    from pointsman.contract import Header
    from pointsman.plan.types import TierPlan

CLIENT_PREFIX: Final = "/v1/"
"""What a client's path starts with on the short way; others take the listener."""

UNSENT: Final = "connect-failure,refused-stream,reset-before-request"
"""Failures of a request that cannot have reached the model: a second answer would be paid for."""

FAILED: Final = "5xx,reset,connect-failure,retriable-status-codes"
_TOO_MANY_REQUESTS: Final = 429
_SLACK_MS: Final = 5_000


def is_possible(tier: TierPlan, strong: TierPlan) -> bool:
    """Say whether the short way serves `tier` exactly as its listener would, also when it fails over.

    With a second attempt elsewhere the path must not change on the way, one attempt must be all that the tier
    gets, and the time-outs of the first attempt must not cut the second.
    """
    if tier == strong:
        return True
    return (
        tier.endpoints[0].path_prefix == CLIENT_PREFIX[:-1]
        and len(tier.endpoints) == 1
        and tier.idle_timeout_ms >= strong.idle_timeout_ms
        and tier.total_timeout_ms >= strong.total_timeout_ms
    )


def action(tier: TierPlan, strong: TierPlan) -> route_components_pb2.RouteAction:
    """Return the action of the short way."""
    found = route_components_pb2.RouteAction(
        cluster=names.direct_cluster(tier, strong),
        timeout=ms(tier.total_timeout_ms),
        idle_timeout=ms(tier.idle_timeout_ms),
        retry_policy=unsent_retry(tier),
    )
    rewrite_host(found, tier)
    if tier != strong:
        # One idle time for each attempt; the request's own must outlast both.
        found.idle_timeout.CopyFrom(ms(tier.idle_timeout_ms + strong.idle_timeout_ms + _SLACK_MS))
        found.retry_policy.CopyFrom(failover_retry())
        found.retry_policy.per_try_idle_timeout.CopyFrom(ms(tier.idle_timeout_ms))
    elif tier.endpoints[0].path_prefix != CLIENT_PREFIX[:-1]:
        found.prefix_rewrite = f"{tier.endpoints[0].path_prefix}/"
    return found


def rewrite_host(found: route_components_pb2.RouteAction, tier: TierPlan) -> None:
    """Make the Host header what the chosen endpoint expects."""
    authorities = {authority(endpoint) for endpoint in tier.endpoints}
    if len(authorities) == 1:
        found.host_rewrite_literal = authorities.pop()
    else:
        found.auto_host_rewrite.CopyFrom(true())


def failover_retry() -> route_components_pb2.RetryPolicy:
    """Return the retry that becomes a failover in a composite cluster: once, before the first byte."""
    return route_components_pb2.RetryPolicy(
        retry_on=FAILED, num_retries=uint(1), retriable_status_codes=[_TOO_MANY_REQUESTS]
    )


def unsent_retry(tier: TierPlan) -> route_components_pb2.RetryPolicy:
    """Return a retry within the tier, on another endpoint if there is one."""
    policy = route_components_pb2.RetryPolicy(retry_on=UNSENT, num_retries=uint(1))
    if len(tier.endpoints) > 1:
        policy.retry_host_predicate.append(
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        )
        policy.host_selection_retry_max_attempts = 3
    return policy


def says(header: Header, value: str) -> base_pb2.HeaderValueOption:
    """Return a response header that is ours, whatever the upstream sent."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=header, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
