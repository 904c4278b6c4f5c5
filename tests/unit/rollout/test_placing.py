"""Another place of the classifiers: no other revision, and nobody is asked there before it is ready."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.api.conditions import ClassifierReadyReason, ProgrammedReason
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare
from pointsman.api.v1alpha1.triton import Triton
from pointsman.plan.arms import revision_arm
from pointsman.pools.place import pool_place
from pointsman.rollout.evidence import Evidence, Question, Trouble
from pointsman.rollout.observation import (
    Artifact,
    Bundle,
    Kept,
    Observation,
    Phase,
    Programmed,
    Refusal,
    Replica,
    SeenAction,
    Source,
)
from pointsman.rollout.observe import observe
from pointsman.rollout.placing import place_in_force
from pointsman.rollout.readiness import readiness
from pointsman.rollout.revisions import desired_name, manifest, revision_spec
from pointsman.rollout.wants import Want, wants

SHA = "a" * 64
SERVER = "http://triton-0:8000"
EXTERNAL = Triton.model_validate({"external": {"urls": [SERVER]}})
MANAGED = Triton.model_validate({"managed": {}})


def policy(triton: Triton, *, asked: Triton | None = None, promoted: bool = True) -> RoutingPolicy:
    spec = {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
        "tiers": [
            {"name": name, "endpoints": [{"url": "http://tier/v1"}], "model": name}
            for name in ("cheap", "strong")
        ],
        "strategy": {
            "type": "Classifier",
            "classifier": {
                "artifact": {"uri": "configmap://bundle", "sha256": SHA},
                "thresholds": [{"tier": "cheap", "minScorePermille": 600}],
            },
        },
        "triton": triton.to_kube(),
        "rollout": {"mode": "Direct"},
    }
    metadata = {"name": "support", "namespace": "chat", "uid": "u-1", "generation": 2}
    found = RoutingPolicy.model_validate({"metadata": metadata, "spec": spec})
    status = RoutingPolicyStatus(triton=asked)
    if promoted:
        name = desired_name(found)
        traffic = [TrafficShare(revision=name, weight_permille=1000)]
        status = RoutingPolicyStatus(triton=asked, stable_revision=name, traffic=traffic)
    return found.model_copy(update={"status": status})


class _World:
    """What is known beside the API's objects: one phase for each place."""

    def __init__(self, **phases: Phase) -> None:
        self.server, self.pool = phases.get("server", Phase.READY), phases.get("pool", Phase.READY)

    def artifact(self, source: Source) -> Artifact:  # noqa: ARG002 - as observed
        return Artifact(Bundle(("cheap", "strong"), ()))

    def replica(self, url: str, sha256: str) -> Replica:  # noqa: ARG002 - as observed
        return Replica(url, self.server)

    def pooled(self, pool: str, source: Source) -> Replica:  # noqa: ARG002 - as observed
        starts = ClassifierReadyReason.POOL_STARTING if self.pool != Phase.READY else None
        return Replica(pool_place(pool), self.pool, "no Triton is ready", starts)

    def programmed(self, policy: RoutingPolicy) -> tuple[Programmed, Refusal | None]:  # noqa: ARG002 - as observed
        return Programmed(ProgrammedReason.ACKNOWLEDGED), None

    def evidence(self, question: Question) -> Evidence:  # noqa: ARG002 - as observed
        return Evidence(at_s=0.0, trouble=Trouble.NOT_YET)

    def actions(self, policy: RoutingPolicy) -> tuple[SeenAction, ...]:  # noqa: ARG002 - as observed
        return ()


class Seen:
    """The policy's own revision."""

    def __init__(self, of: RoutingPolicy) -> None:
        raw = manifest(of)
        self.revision = RoutingPolicyRevision.model_validate(raw)
        self.name, self.uid, self.created, self.owner_uid = raw["metadata"]["name"], "r", "", "u-1"


def look(of: RoutingPolicy, **phases: Phase) -> Observation:
    return observe(of, [Seen(of)], _World(**phases))


def test_the_place_is_no_part_of_a_revision() -> None:
    """From external to managed, or to another pool: the same name, so nothing is rolled out."""
    other = Triton.model_validate({"managed": {"poolRef": {"name": "gpu"}}})
    assert len({desired_name(policy(triton)) for triton in (EXTERNAL, MANAGED, other)}) == 1


@pytest.mark.parametrize(
    ("phases", "place"),
    [
        ({"pool": Phase.UNREACHABLE}, EXTERNAL),
        ({"pool": Phase.ABSENT}, EXTERNAL),
        ({"pool": Phase.READY}, MANAGED),
        # nothing to lose where it was
        ({"server": Phase.UNREACHABLE, "pool": Phase.READY}, MANAGED),
        ({"server": Phase.UNREACHABLE, "pool": Phase.FAILED}, EXTERNAL),
    ],
)
def test_it_moves_once_the_new_place_holds_what_traffic_needs(phases: dict[str, Any], place: Triton) -> None:
    """Until then requests are classified where they were."""
    assert place_in_force(look(policy(MANAGED, asked=EXTERNAL), **phases)) == place


def test_at_first_the_spec_is_the_place() -> None:
    """Nothing is in force yet, or an older version did not write it down."""
    assert place_in_force(look(policy(MANAGED, promoted=False), pool=Phase.ABSENT)) == MANAGED


def test_both_places_hold_the_model_meanwhile() -> None:
    """What is asked is healed there until the other one takes over, and is in traffic at both."""
    found = wants(look(policy(MANAGED, asked=EXTERNAL), pool=Phase.ABSENT))
    source = Source("chat", "configmap://bundle", SHA)
    assert found == {Want(where, source, proven=True, traffic=True) for where in (SERVER, "pool://default")}
    assert {want.url for want in wants(look(policy(MANAGED, asked=MANAGED)))} == {"pool://default"}


def test_the_condition_says_what_is_missing_and_who_answers() -> None:
    """The new place's cause, and where requests are classified until then."""
    told = readiness(look(policy(MANAGED, asked=EXTERNAL), pool=Phase.UNREACHABLE))
    assert told.reason == ClassifierReadyReason.POOL_STARTING
    assert told.message == (
        f"TritonPool default: no Triton is ready; requests are classified by {SERVER} until then"
    )


def test_a_candidate_waits_for_both_places() -> None:
    """It may be asked at either, so it is ready at neither alone."""
    candidate = policy(MANAGED, asked=EXTERNAL, promoted=False)
    assert not readiness(look(candidate, server=Phase.ABSENT)).ready
    assert not readiness(look(candidate, pool=Phase.ABSENT)).ready
    assert readiness(look(candidate)).ready


@pytest.mark.parametrize(
    ("asked", "addresses"),
    [
        (EXTERNAL, ("triton-0:8000",)),
        (MANAGED, ("pointsman-triton-default.system.svc:8000",)),
        (None, ("pointsman-triton-default.system.svc:8000",)),
    ],
)
def test_envoy_asks_the_place_in_force(asked: Triton | None, addresses: tuple[str, ...]) -> None:
    """The arm's Tritons are those of the status, which the spec only precedes."""
    of = policy(MANAGED, asked=asked)
    revision = RoutingPolicyRevision.model_validate(manifest(of))
    arm = revision_arm(of, revision, 1000, "system")
    assert arm.classifier is not None
    assert arm.classifier.triton.addresses == addresses


def test_traffic_of_a_revision_that_is_being_replaced_holds_the_place() -> None:
    """What requests are sent to and is neither desired nor stable moves first; the place follows."""
    of = policy(MANAGED, asked=EXTERNAL)
    strange = [TrafficShare(revision="support-0000000000", weight_permille=1000)]
    of = of.model_copy(update={"status": of.status.model_copy(update={"traffic": strange})})
    seen = observe(of, [Seen(of)], _World())
    assert isinstance(seen.kept[0], Kept)
    assert seen.kept[0].spec == revision_spec(of)
    assert place_in_force(seen) == EXTERNAL
