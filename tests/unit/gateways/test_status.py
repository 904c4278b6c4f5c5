"""A gateway's status: what is told of its Envoys, and which cause Ready takes over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway_kit import deployment
from pointsman.api.conditions import find
from pointsman.api.gateway_conditions import (
    GATEWAY_REASONS,
    AvailableReason,
    CertifiedReason,
    GatewayAcceptedReason,
    GatewayConditionType,
)
from pointsman.api.v1alpha1.routing_gateway import RoutingGatewayStatus
from pointsman.gateways.status import ACCEPTED, CERTIFIED, Seen, announcement, available, next_status
from pointsman.workloads.pods import Cause

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEEN = Seen(
    generation=1,
    status=RoutingGatewayStatus(),
    accepted=ACCEPTED,
    certified=CERTIFIED,
    deployment=deployment(2),
    pods=(),
    address="pointsman-gateway-default.pm.svc",
    policies=3,
)
PULLING = {
    "metadata": {"name": "p"},
    "status": {
        "containerStatuses": [
            {"name": "envoy", "image": "e:2", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
        ]
    },
}


def test_a_gateway_whose_envoys_all_serve_is_ready() -> None:
    """All four conditions are true, and the figures are told."""
    status = next_status(SEEN, NOW)
    assert [(c.type, c.status) for c in status.conditions] == [
        (kind.value, "True") for kind in GatewayConditionType
    ]
    assert (status.replicas, status.ready_replicas, status.policies) == (2, 2, 3)
    assert status.address == "pointsman-gateway-default.pm.svc"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "the Deployment is not there yet"),
        (deployment(2, availableReplicas=1), "1 of 2 Envoys serve"),
        (
            deployment(2, replicas=3, updatedReplicas=1),
            "2 of 2 Envoys serve, 1 of them are of this spec",
        ),
        (
            deployment(2, updatedReplicas=0, replicas=0, availableReplicas=0),
            "0 of 2 Envoys serve, 0 pods are there",
        ),
        (deployment(2, observedGeneration=0), "2 of 2 Envoys serve"),
    ],
)
def test_what_is_not_complete_and_has_no_cause_progresses(found: Any, words: str) -> None:
    """Unknown, with what serves meanwhile."""
    assert available(replace(SEEN, deployment=found), NOW) == (AvailableReason.PROGRESSING, words)


def test_a_cause_is_told_even_while_the_old_envoys_serve() -> None:
    """The new spec does not come: that is not well, though nobody is without service."""
    stuck = replace(SEEN, deployment=deployment(2, replicas=3, updatedReplicas=1), pods=[PULLING])
    reason, words = available(stuck, NOW)
    assert reason == AvailableReason.IMAGE_PULL_BACK_OFF
    assert words.startswith("2 of 2 Envoys serve, 1 of them are of this spec; pod p: e:2")


def test_a_trouble_of_nobody_that_is_wanted_is_none() -> None:
    """With as many as wanted of this spec available, a pod too many may ail."""
    assert available(replace(SEEN, pods=[PULLING]), NOW)[0] == AvailableReason.AVAILABLE


def test_every_cause_of_pods_is_a_reason() -> None:
    """No cause is without a condition's reason."""
    assert {cause.value for cause in Cause} <= {reason.value for reason in AvailableReason}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"accepted": (GatewayAcceptedReason.SECRET_NOT_FOUND, "x")}, "SecretNotFound"),
        ({"certified": (CertifiedReason.CERTIFICATE_MISSING, "x")}, "CertificateMissing"),
        ({"deployment": None}, "Progressing"),
    ],
)
def test_ready_has_the_reason_of_its_cause(change: Any, reason: str) -> None:
    """The first condition that is not true speaks for all."""
    ready = find(next_status(replace(SEEN, **change), NOW).conditions, "Ready")
    assert ready is not None
    assert (ready.status != "True", ready.reason) == (True, reason)


def test_nothing_changes_when_nothing_changes() -> None:
    """The same sight a minute later is the same status, times included."""
    first = next_status(SEEN, NOW)
    assert next_status(replace(SEEN, status=first), NOW + timedelta(minutes=1)) == first


def test_people_are_told_of_causes_and_of_their_end() -> None:
    """Not of what only goes on, and not twice."""
    fresh, well = RoutingGatewayStatus(), next_status(SEEN, NOW)
    ill = next_status(replace(SEEN, accepted=(GatewayAcceptedReason.REFUSED, "no")), NOW)
    assert announcement(fresh, well) == (True, "Ready", "The Envoys are as the spec says.")
    assert announcement(well, well) is None
    assert announcement(well, ill) == (False, "Refused", "Accepted: no")
    assert announcement(well, next_status(replace(SEEN, deployment=None), NOW)) is None


def test_every_reason_fixes_a_status_and_has_a_sentence() -> None:
    """Each condition has reasons of its own, in the order of the types."""
    assert [reasons.TYPE for reasons in GATEWAY_REASONS] == list(GatewayConditionType)
    for reasons in GATEWAY_REASONS:
        assert all(reason.status in {"True", "False", "Unknown"} for reason in reasons)
        assert all(reason.sentence.endswith(".") for reason in reasons)
