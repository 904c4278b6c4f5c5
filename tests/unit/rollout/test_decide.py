"""The decision and the status that follows, case by case: each keyed by the sentence that it proves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pointsman.api.conditions import AcceptedReason, ClassifierReadyReason, ProgrammedReason, find
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare
from pointsman.rollout.announce import announcements
from pointsman.rollout.decide import KEEP, Action, decide, surplus
from pointsman.rollout.observation import (
    Artifact,
    Bundle,
    Classifier,
    Kept,
    Observation,
    Phase,
    Programmed,
    Refusal,
    Replica,
    Source,
    Stray,
)
from pointsman.rollout.revisions import desired_name, revision_spec
from pointsman.rollout.state import next_status
from pointsman.rollout.wants import wants

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SOURCE = Source("chat", "configmap://bundle", "a" * 64)
FITS = Artifact(Bundle(("small", "large"), ("law", "math")))
ACKNOWLEDGED = Programmed(ProgrammedReason.ACKNOWLEDGED)


def policy(**spec: Any) -> RoutingPolicy:
    body = {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
        "tiers": [
            {"name": name, "endpoints": [{"url": "http://tier/v1"}], "model": name}
            for name in ("cheap", "strong")
        ],
        "strategy": {
            "type": "Classifier",
            "classifier": {
                "artifact": {"uri": SOURCE.uri, "sha256": SOURCE.sha256},
                "thresholds": [{"tier": "cheap", "minScorePermille": 600}],
                "perIntent": [{"intent": "law", "tier": "strong"}],
            },
        },
        "triton": {"external": {"urls": ["http://triton-0:8000", "http://triton-1:8000"]}},
        "rollout": {"mode": "Direct"},
    }
    metadata = {"name": "support", "namespace": "chat", "uid": "u-1", "generation": 2}
    raw = {"apiVersion": "pointsman.dev/v1alpha1", "kind": "RoutingPolicy", "metadata": metadata}
    return RoutingPolicy.model_validate(raw | {"spec": body | spec})


def classifier(*phases: Phase, artifact: Artifact = FITS) -> Classifier:
    replicas = tuple(Replica(f"http://triton-{n}:8000", phase) for n, phase in enumerate(phases))
    return Classifier(SOURCE, artifact, replicas)


def observation(**changes: Any) -> Observation:
    """Return a policy whose revision is frozen and ready, with nothing in force."""
    found = changes.pop("policy", policy())
    status = changes.pop("status", None)
    if status is not None:
        found = found.model_copy(update={"status": status})
    base = Observation(
        policy=found,
        desired=desired_name(found),
        kept=(kept(desired_name(found)),),
        strays=(),
        classifier=classifier(Phase.READY, Phase.READY),
        stable_classifier=None,
        programmed=ACKNOWLEDGED,
    )
    return replace(base, **changes)


def kept(name: str, created: str = "2026-11-21T10:00:00Z") -> Kept:
    return Kept(name, f"uid-{name}", created, revision_spec(policy()))


def in_force(name: str) -> RoutingPolicyStatus:
    return RoutingPolicyStatus(
        stable_revision=name, traffic=[TrafficShare(revision=name, weight_permille=1000)]
    )


DESIRED = desired_name(policy())
MINE = in_force(DESIRED)
OTHER = in_force("support-0000000000")
FAILED = Artifact(failure=(ClassifierReadyReason.BUNDLE_NOT_FOUND, "no ConfigMap"), retry_after_s=4.0)
PINNED = {"strategy": {"type": "Pinned", "pinned": {"tier": "cheap"}}}


@dataclass(frozen=True)
class Case:
    """What is seen, and what must follow: the step, `Progressing`, `ClassifierReady`, and who serves."""

    seen: Observation
    action: Action
    progressing: str
    ready: str
    serves: str | None = None
    requeue: float | None = None


CASES = {
    "a new policy is frozen first, and nothing serves yet": Case(
        observation(kept=()), Action.FREEZE_REVISION, "WaitingForClassifier", "Loaded", None, 0.0
    ),
    "a ready candidate takes all of the traffic in one write": Case(
        observation(), Action.PROMOTE, "Promoted", "Loaded", DESIRED
    ),
    "the old revision serves while the bundle of the new one is fetched": Case(
        observation(status=OTHER, classifier=classifier(Phase.UNKNOWN, artifact=Artifact())),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "Loading",
        "support-0000000000",
        30.0,
    ),
    "a bundle that cannot be had is tried again when its pause is over": Case(
        observation(status=OTHER, classifier=classifier(Phase.UNKNOWN, artifact=FAILED)),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "BundleNotFound",
        "support-0000000000",
        4.0,
    ),
    "one replica without the model holds the promotion": Case(
        observation(classifier=classifier(Phase.READY, Phase.ABSENT)),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "Loading",
        None,
        30.0,
    ),
    "a replica that does not answer is told before one that still loads": Case(
        observation(classifier=classifier(Phase.ABSENT, Phase.UNREACHABLE)),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "TritonUnreachable",
        None,
        30.0,
    ),
    "a bundle that a replica refuses is told": Case(
        observation(classifier=classifier(Phase.READY, Phase.FAILED)),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "BundleRejected",
        None,
        30.0,
    ),
    "a bundle for another number of tiers is told": Case(
        observation(classifier=classifier(Phase.UNKNOWN, artifact=Artifact(Bundle(("a",), ("law",))))),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "BundleMismatch",
        None,
        30.0,
    ),
    "a bundle that lacks an intent of perIntent is told": Case(
        observation(classifier=classifier(Phase.UNKNOWN, artifact=Artifact(Bundle(("a", "b"), ("x",))))),
        Action.LOAD_CLASSIFIER,
        "WaitingForClassifier",
        "BundleMismatch",
        None,
        30.0,
    ),
    "a pinned policy needs no classifier": Case(
        observation(policy=policy(**PINNED), classifier=None),
        Action.PROMOTE,
        "Promoted",
        "NotNeeded",
        desired_name(policy(**PINNED)),
    ),
    "suspend holds a candidate that is ready": Case(
        observation(policy=policy(suspend=True), status=OTHER),
        Action.NOTHING,
        "Suspended",
        "Loaded",
        "support-0000000000",
    ),
    "suspend changes nothing for what is in force": Case(
        observation(policy=policy(suspend=True), status=MINE), Action.NOTHING, "Promoted", "Loaded", DESIRED
    ),
    "a model lost under a revision in force is loaded again, and the traffic stays": Case(
        observation(status=MINE, classifier=classifier(Phase.READY, Phase.LOST)),
        Action.LOAD_CLASSIFIER,
        "Promoted",
        "Reloading",
        DESIRED,
        30.0,
    ),
    "a revision in force needs its bundle no more": Case(
        observation(status=MINE, classifier=classifier(Phase.READY, artifact=FAILED)),
        Action.NOTHING,
        "Promoted",
        "Loaded",
        DESIRED,
    ),
    "a lost status is always-strong, and promoted again": Case(
        observation(status=RoutingPolicyStatus()), Action.PROMOTE, "Promoted", "Loaded", DESIRED
    ),
    "a stable revision without traffic is promoted again": Case(
        observation(status=RoutingPolicyStatus(stable_revision=DESIRED)),
        Action.PROMOTE,
        "Promoted",
        "Loaded",
        DESIRED,
    ),
    "an earlier policy's revision of the same name is replaced before use": Case(
        observation(kept=(), strays=(Stray(DESIRED, "uid-old"),)),
        Action.REPLACE_STRAY,
        "WaitingForClassifier",
        "Loaded",
        None,
        0.0,
    ),
    "a revision in force that somebody deleted is frozen again": Case(
        observation(kept=(), status=MINE), Action.FREEZE_REVISION, "Promoted", "Loaded", DESIRED, 0.0
    ),
    "a policy whose hosts another holds comes not into force": Case(
        observation(refusal=Refusal(AcceptedReason.HOST_CONFLICT, "chat/older holds it")),
        Action.NOTHING,
        "NotAccepted",
        "Loaded",
        None,
        30.0,
    ),
    "a Secret that goes missing moves no traffic that is in force": Case(
        observation(status=MINE, refusal=Refusal(AcceptedReason.SECRET_NOT_FOUND, "no Secret keys")),
        Action.NOTHING,
        "Promoted",
        "Loaded",
        DESIRED,
    ),
    "an xds server that does not answer never blocks a promotion": Case(
        observation(programmed=Programmed(ProgrammedReason.XDS_UNREACHABLE)),
        Action.PROMOTE,
        "Promoted",
        "Loaded",
        DESIRED,
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_case(sentence: str) -> None:
    """The step, the conditions and the traffic are those that the sentence promises."""
    case = CASES[sentence]
    decision = decide(case.seen, NOW)
    status = next_status(case.seen, decision, NOW)
    assert (decision.action, decision.requeue_after) == (case.action, case.requeue)
    told = {condition.type: condition.reason for condition in status.conditions}
    assert (told["Progressing"], told["ClassifierReady"]) == (case.progressing, case.ready)
    assert [share.revision for share in status.traffic] == ([case.serves] if case.serves else [])
    assert sum(share.weight_permille for share in status.traffic) in {0, 1000}
    assert status.candidate_revision == (None if case.serves == case.seen.desired else case.seen.desired)
    assert status.observed_generation == 2


@pytest.mark.parametrize("sentence", CASES)
def test_a_status_is_its_own_answer(sentence: str) -> None:
    """Seen again with the status that was written, a policy's status stays: nothing is written at rest."""
    seen = CASES[sentence].seen
    for _ in range(2):
        written = next_status(seen, decide(seen, NOW), NOW)
        seen = replace(seen, policy=seen.policy.model_copy(update={"status": written}))
    later = datetime(2027, 1, 1, tzinfo=UTC)
    again = next_status(seen, decide(seen, later), later)
    assert again == seen.policy.status
    assert announcements(seen.policy.status, again) == ()


def test_what_envoys_acknowledged_does_not_cover_traffic_that_moves() -> None:
    """A promotion's own write says Pending: the acknowledgement was for the traffic before."""
    seen = observation()
    status = next_status(seen, decide(seen, NOW), NOW)
    found = find(status.conditions, "Programmed")
    assert found is not None
    assert found.reason == "Pending"


def test_a_loss_in_force_is_told_while_a_candidate_loads() -> None:
    """ClassifierReady is about the candidate, and mentions the revision in force that lost its model."""
    seen = observation(
        status=OTHER,
        classifier=classifier(Phase.ABSENT),
        stable_classifier=classifier(Phase.READY, Phase.LOST),
    )
    found = find(next_status(seen, decide(seen, NOW), NOW).conditions, "ClassifierReady")
    assert found is not None
    assert "support-0000000000, in force: ready on 1 of 2" in found.message


def test_a_start_changes_no_status() -> None:
    """Before Triton was asked, what the status said of a revision in force holds."""
    seen = observation(status=MINE)
    written = next_status(seen, decide(seen, NOW), NOW)
    started = replace(
        seen,
        policy=seen.policy.model_copy(update={"status": written}),
        classifier=classifier(Phase.UNKNOWN, Phase.UNKNOWN),
    )
    assert next_status(started, decide(started, NOW), NOW) == written


def test_a_start_forgets_no_failure_but_believes_no_readiness() -> None:
    """A candidate's trouble is told until it was tried again; that it was ready is not taken on trust."""
    failed = observation(status=OTHER, classifier=classifier(Phase.UNKNOWN, artifact=FAILED))
    ready = observation(policy=policy(suspend=True), status=OTHER)
    for seen, reason in ((failed, "BundleNotFound"), (ready, "Loading")):
        written = next_status(seen, decide(seen, NOW), NOW)
        started = replace(
            seen,
            policy=seen.policy.model_copy(update={"status": written}),
            classifier=classifier(Phase.UNKNOWN, artifact=Artifact()),
        )
        found = find(next_status(started, decide(started, NOW), NOW).conditions, "ClassifierReady")
        assert found is not None
        assert found.reason == reason


def test_the_oldest_revisions_beyond_ten_are_surplus() -> None:
    """Those in force are never among them, however old."""
    old = tuple(kept(f"support-{n:010d}", f"2026-11-{n + 1:02d}T00:00:00Z") for n in range(12))
    seen = observation(kept=(*old, kept(DESIRED, "2026-11-20T00:00:00Z")), status=in_force(old[0].name))
    assert [k.name for k in surplus(seen)] == [k.name for k in old[1:4]]
    assert len(seen.kept) - len(surplus(seen)) == KEEP


def test_only_a_bundle_that_fits_is_loaded() -> None:
    """A misfit or unverified bundle costs no Triton anything; the stable one's is wanted throughout."""
    stable = classifier(Phase.READY)
    misfit = classifier(Phase.UNKNOWN, artifact=Artifact(Bundle(("a",), ())))
    assert wants(observation(classifier=misfit)) == frozenset()
    assert wants(observation(classifier=classifier(Phase.UNKNOWN, artifact=Artifact()))) == frozenset()
    wanted = wants(observation(status=OTHER, stable_classifier=stable, classifier=misfit))
    assert [want.proven for want in wanted] == [True]
    assert {want.proven for want in wants(observation())} == {False}
    shared = wants(observation(status=OTHER, stable_classifier=stable, classifier=stable))
    assert [want.proven for want in shared] == [True]
    assert {want.proven for want in wants(observation(status=MINE))} == {True}


def test_what_a_promotion_announces() -> None:
    """The events of a status write are what it changed."""
    seen = observation()
    status = next_status(seen, decide(seen, NOW), NOW)
    told = announcements(seen.policy.status, status)
    assert [(event.kind, event.reason) for event in told] == [("Normal", "Loaded"), ("Normal", "Promoted")]
    assert told[1].note.startswith(f"{DESIRED} has all of the traffic; before it always-strong: ")
