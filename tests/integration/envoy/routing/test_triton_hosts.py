"""Several Tritons behind one cluster: a host that is gone costs no request its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import envoy_rig
from envoy_kit.servers import Server
from envoy_rig import SOLE, Rig
from pointsman.contract import Header, Reason
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.plan.types import ArmPlan, GatewayPlan, TierPlan, TritonPlan


@pytest.fixture
def half_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Run an Envoy that knows two Tritons more, at whose ports nobody listens."""
    whole = envoy_rig.gateway

    def gateway(cheap: TierPlan, strong: TierPlan, triton: Server) -> GatewayPlan:
        plan = whole(cheap, strong, triton)
        gone = TritonPlan((f"{LOCALHOST}:{free_port()}", triton.address))
        return replace(
            plan,
            policies=tuple(
                replace(policy, arms=tuple(_on(arm, gone) for arm in policy.arms)) for policy in plan.policies
            ),
        )

    monkeypatch.setattr(envoy_rig, "gateway", gateway)
    with envoy_rig.run(tmp_path) as rig:
        yield rig


def _on(arm: ArmPlan, triton: TritonPlan) -> ArmPlan:
    return arm if arm.classifier is None else replace(arm, classifier=replace(arm.classifier, triton=triton))


def test_who_refuses_the_connection_is_passed_over(half_gone: Rig) -> None:
    """Half of the hosts refuse; every request is classified all the same, by the other half."""
    reasons = [half_gone.ask(envoy_rig.QUESTION, host=SOLE).headers[Header.REASON] for _ in range(40)]
    assert Reason.CLASSIFIER_UNAVAILABLE not in reasons
    assert Reason.SCORE in reasons  # where this machine is slow, some come too late, which is another matter
