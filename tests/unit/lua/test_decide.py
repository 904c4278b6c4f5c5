"""Choosing the tier: whatever goes wrong, the last one serves and the reason is counted."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import plans
from lua_kit import NOW_US, REQUEST_ID, TICK_US, Worker
from pointsman.contract import CLUSTER_CAPTURE, DECISION, FAIL_OPEN, Header, Key, Reason
from pointsman.plan.types import ArmPlan, CapturePlan, ClassifierPlan, PolicyPlan, TierPlan, TritonPlan
from pointsman.xds.translate import names
from pointsman.xds.translate.context import decide_context
from pointsman.xds.translate.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lua_kit import Outcome

BODY = b'{"model":"auto","messages":[{"role":"user","content":"Why?"}]}'
AT = f"10:15:{NOW_US}"
OPTIONS = Options(classify_limit=1000)
WORKER = Worker("decide")

CHEAP, STRONG = plans.tier("cheap", model="small"), plans.tier("strong", model="large")
TRITON = TritonPlan(("10.0.0.1:8000",))
CLASSIFIER = ClassifierPlan(
    model="pm-1",
    triton=TRITON,
    deadline_ms=50,
    thresholds=(("cheap", 640),),
    per_intent=(("contracts", "strong"),),
)
FIXED = plans.arm(CHEAP, STRONG)
ASKING = replace(FIXED, classifier=CLASSIFIER)
PINNED = replace(FIXED, pinned="cheap")
POLICY = plans.policy("p", ASKING, namespace="team")
ALL = CapturePlan(sample_permille=1000, max_bytes=1000)


def scored(cheap: float, intent: bytes = b"chat") -> tuple[dict[str, str], bytes]:
    """Return Triton's answer for two tiers."""
    outputs = [
        {"name": "score", "parameters": {"binary_data_size": 8}},
        {"name": "intent", "parameters": {"binary_data_size": 4 + len(intent)}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    body = head + np.array([cheap, 1], dtype="<f4").tobytes() + struct.pack("<I", len(intent)) + intent
    return {":status": "200", "inference-header-content-length": str(len(head))}, body


def decide(
    policy: PolicyPlan = POLICY,
    answer: tuple[Mapping[str, str], bytes | None] | None = None,
    *,
    body: bytes | None = BODY,
    note: str = AT,
    headers: Mapping[str, str] | None = None,
    capture: bool = True,
    has_stats: bool = True,
) -> Outcome:
    """Run the script on a request of a policy with one arm; Triton gives `answer`."""
    clusters: dict[str, tuple[Mapping[str, str], bytes | None]] = {TRITON.id: answer or scored(0.9)}
    if capture:
        clusters[CLUSTER_CAPTURE] = ({":status": "200"}, None)
    outcome = WORKER.on_request(
        body,
        decide_context(policy, policy.arms[0], OPTIONS),
        headers={Header.MODEL_AT: note} | dict(headers or {}),
        metadata={Key.POLICY: policy.key},
        clusters=clusters,
        has_stats=has_stats,
    )
    assert (outcome.problem, outcome.status) == (None, None)
    return outcome


def check(outcome: Outcome, tier: str, reason: Reason) -> dict[str, Any]:
    """Assert where a request went and why, in every place that says so; return the decision's record."""
    said = outcome.record(DECISION)
    assert (said[Key.TIER], said[Key.REASON], said[Key.REVISION]) == (tier, reason, "r1")
    chosen = CHEAP if tier == "cheap" else STRONG
    assert outcome.metadata[Key.ROUTE] in {
        names.route_key(FIXED, chosen),
        names.direct_cluster(chosen, STRONG),
    }
    assert outcome.counters == {f"pointsman.reason.{reason}": 1}
    assert outcome.route_cleared == 1
    assert outcome.logs == []
    return dict(said)


def test_a_good_score_takes_the_cheap_tier() -> None:
    """A score at its threshold is recorded with the intent, to six decimals."""
    said = check(decide(answer=scored(0.64)), "cheap", Reason.SCORE)
    assert (said[Key.SCORE], said[Key.INTENT]) == (0.64, "chat")


def test_a_low_score_takes_the_strong_tier() -> None:
    """Below the threshold the last tier serves, and the score tells by how much."""
    said = check(decide(answer=scored(0.5)), "strong", Reason.BELOW_THRESHOLD)
    assert said[Key.SCORE] == 0.5


def test_an_intents_rule_is_kept() -> None:
    """An intent with a tier of its own goes there, whatever the score."""
    check(decide(answer=scored(0.99, b"contracts")), "strong", Reason.INTENT_RULE)


def test_an_intent_in_any_bytes_is_recorded_as_json() -> None:
    """Quotes, control characters, other scripts and stray bytes leave the record readable."""
    said = check(decide(answer=scored(0.9, b'"\\\n' + "é模".encode() + b"\xff")), "cheap", Reason.SCORE)
    assert said[Key.INTENT] == '"\\\né模?'


def test_asks_the_classifier_once_with_the_clients_bytes() -> None:
    """The body goes to Triton untouched, as one raw input, with the policy's deadline."""
    (call,) = decide().calls
    assert (call.cluster, call.body, call.timeout_ms, call.asynchronous) == (TRITON.id, BODY, 50, False)
    assert call.headers == {
        ":method": "POST",
        ":path": "/v2/models/pm-1/infer",
        ":authority": "10.0.0.1:8000",
        "content-type": "application/octet-stream",
        "inference-header-content-length": "0",
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(({":status": "504"}, b"timeout"), Reason.CLASSIFIER_TIMEOUT, id="too late"),
        pytest.param(({":status": "503"}, b"refused"), Reason.CLASSIFIER_UNAVAILABLE, id="refused"),
        pytest.param(({":status": "500"}, b"oops"), Reason.CLASSIFIER_ERROR, id="failed"),
        pytest.param(({":status": "404"}, None), Reason.CLASSIFIER_ERROR, id="not loaded"),
        pytest.param(({":status": "200"}, None), Reason.CLASSIFIER_NONSENSE, id="no body"),
        pytest.param((scored(0.9)[0], b"short"), Reason.CLASSIFIER_NONSENSE, id="cut short"),
        pytest.param(scored(float("nan")), Reason.CLASSIFIER_NONSENSE, id="not a number"),
        pytest.param(scored(1.5), Reason.CLASSIFIER_NONSENSE, id="out of range"),
    ],
)
def test_a_classifier_in_trouble_sends_to_strong(
    answer: tuple[Mapping[str, str], bytes | None], reason: Reason
) -> None:
    """Each way to fail has a reason of its own, no score, and the strong tier."""
    said = check(decide(answer=answer), "strong", reason)
    assert Key.SCORE not in said
    assert reason in FAIL_OPEN


def test_a_body_beyond_the_limit_is_not_classified() -> None:
    """A body longer than the classifier is asked about costs no call."""
    outcome = decide(body=BODY + b" " * OPTIONS.classify_limit)
    check(outcome, "strong", Reason.BODY_TOO_LARGE)
    assert outcome.calls == []


@pytest.mark.parametrize(
    "reason", [Reason.BODY_EMPTY, Reason.BODY_UNREADABLE, Reason.BODY_HOSTILE, Reason.SCRIPT_ERROR]
)
def test_what_the_dispatch_could_not_read_goes_to_strong(reason: Reason) -> None:
    """The first script's reason stands, and no classifier is asked."""
    outcome = decide(note=reason)
    check(outcome, "strong", reason)
    assert outcome.calls == []


def test_a_pin_asks_nobody() -> None:
    """A pinned revision's requests all go to its tier."""
    outcome = decide(plans.policy("p", PINNED, namespace="team"))
    check(outcome, "cheap", Reason.PINNED)
    assert outcome.calls == []


def test_always_strong_asks_nobody() -> None:
    """A revision without a classifier is served by the last tier."""
    outcome = decide(plans.policy("p", FIXED, namespace="team"))
    check(outcome, "strong", Reason.ALWAYS_STRONG)
    assert outcome.calls == []


@pytest.mark.parametrize(("cheap", "tier", "model"), [(0.9, CHEAP, "small"), (0.1, STRONG, "large")])
def test_the_short_way_gets_the_tiers_model(cheap: float, tier: TierPlan, model: str) -> None:
    """Where the place of the model is known, it is replaced here and the request takes the short way."""
    outcome = decide(answer=scored(cheap))
    assert outcome.body == BODY.replace(b"auto", model.encode())
    assert outcome.metadata[Key.ROUTE] == names.direct_cluster(tier, STRONG)


@pytest.mark.parametrize(
    "changed",
    [{"note": "nowhere"}, {"note": "10:15"}, {"headers": {":path": "/openai/chat"}}],
    ids=["no place known", "half a note", "another path"],
)
def test_otherwise_the_listener_rewrites(changed: dict[str, Any]) -> None:
    """In any other case the body is left alone and the request takes the tier's listener."""
    outcome = decide(**changed)
    assert outcome.body == BODY
    assert outcome.metadata[Key.ROUTE] == names.route_key(ASKING, CHEAP)


def test_the_time_of_a_decision_counts_from_the_bodys_arrival() -> None:
    """What the record says are microseconds since the first script had the whole body."""
    said = decide(note=f"10:15:{NOW_US - 5_000}").record(DECISION)
    assert said[Key.DECISION_US] == 5_000
    assert 0 <= decide(note="").record(DECISION)[Key.DECISION_US] <= 2 * TICK_US


def test_works_without_counters() -> None:
    """An older Envoy has no counters for scripts; it decides all the same."""
    outcome = decide(has_stats=False)
    assert outcome.record(DECISION)[Key.TIER] == "cheap"
    assert (outcome.counters, outcome.logs) == ({}, [])


@pytest.mark.parametrize("capture", [None, ALL])
def test_a_script_that_fails_leaves_the_strong_tier(capture: CapturePlan | None) -> None:
    """A call to a cluster unknown to Envoy raises: no route is chosen, the reason is kept and logged."""
    policy = replace(POLICY, capture=capture)
    outcome = WORKER.on_request(
        BODY, decide_context(policy, ASKING, OPTIONS), headers={Header.MODEL_AT: AT}, clusters={}
    )
    assert outcome.problem is None
    assert outcome.record(DECISION) == {"revision": "r1", "tier": "strong", "reason": Reason.SCRIPT_ERROR}
    assert Key.ROUTE not in outcome.metadata
    assert outcome.counters == {f"pointsman.reason.{Reason.SCRIPT_ERROR}": 1}
    assert "pointsman.decide" in outcome.logs[0]
    assert outcome.body == BODY


def test_a_table_that_cannot_be_read_leaves_the_strong_tier() -> None:
    """Even without an arm to speak of, the request goes on with its reason."""
    outcome = WORKER.on_request(BODY, {"id": "broken"}, headers={Header.MODEL_AT: AT})
    assert (outcome.problem, outcome.status) == (None, None)
    assert outcome.record(DECISION) == {"reason": Reason.SCRIPT_ERROR}


def test_a_route_without_an_arm_is_left_alone() -> None:
    """On a route that is no policy's, the script does nothing."""
    outcome = WORKER.on_request(BODY, None)
    assert (outcome.metadata, outcome.route_cleared, outcome.logs) == ({}, 0, [])


def test_a_table_is_made_once() -> None:
    """A worker remembers a route's table by the name of its content."""
    worker, context = Worker("decide"), decide_context(POLICY, ASKING, OPTIONS)
    clusters = {TRITON.id: scored(0.9)}
    worker.on_request(BODY, context, headers={Header.MODEL_AT: AT}, clusters=clusters)
    again = worker.on_request(BODY, {"id": context["id"]}, headers={Header.MODEL_AT: AT}, clusters=clusters)
    assert again.record(DECISION)[Key.TIER] == "cheap"


def captured(outcome: Outcome) -> list[Any]:
    """Return the calls that carried text to the evaluator."""
    return [call for call in outcome.calls if call.cluster == CLUSTER_CAPTURE]


@pytest.mark.parametrize("arm", [ASKING, PINNED, FIXED], ids=["classified", "pinned", "always strong"])
def test_a_sampled_request_is_sent_as_the_client_sent_it(arm: ArmPlan) -> None:
    """The evaluator gets the client's bytes, who they were for and where they went, without a wait."""
    outcome = decide(replace(plans.policy("p", arm, namespace="team"), capture=ALL))
    (call,) = captured(outcome)
    said = outcome.record(DECISION)
    assert (call.body, call.asynchronous) == (BODY, True)
    assert said[Key.CAPTURED] == 1
    assert call.headers == {
        ":method": "POST",
        ":path": "/v1/capture/request",
        ":authority": CLUSTER_CAPTURE,
        "content-type": "application/json",
        "x-request-id": REQUEST_ID,
        "x-pointsman-policy": "team/p",
        "x-pointsman-revision": "r1",
        "x-pointsman-tier": said[Key.TIER],
        "x-pointsman-truncated": "0",
    }


@pytest.mark.parametrize(("size", "cut"), [(len(BODY), "0"), (len(BODY) - 1, "1")])
def test_a_long_text_is_cut_and_marked(size: int, cut: str) -> None:
    """No more than the policy's most bytes leave, and the evaluator is told."""
    outcome = decide(replace(POLICY, capture=CapturePlan(1000, size)))
    (call,) = captured(outcome)
    assert call.body == BODY[:size]
    assert call.headers["x-pointsman-truncated"] == cut


@pytest.mark.parametrize(
    ("permille", "request_id", "sent"),
    [
        pytest.param(1000, REQUEST_ID, 1, id="all"),
        pytest.param(999, REQUEST_ID, 0, id="all but this one"),
        pytest.param(0, "00000000-", 0, id="none"),
        pytest.param(1, "00000000-", 1, id="the first of a thousand"),
        pytest.param(1000, "not hexadecimal", 0, id="an id that is none of ours"),
    ],
)
def test_the_sample_is_drawn_by_the_requests_id(permille: int, request_id: str, sent: int) -> None:
    """The id's first digits decide, so request and answer agree and the share is what the policy says."""
    outcome = decide(
        replace(POLICY, capture=CapturePlan(permille, 1000)), headers={Header.REQUEST_ID: request_id}
    )
    assert len(captured(outcome)) == sent
    assert outcome.record(DECISION).get(Key.CAPTURED, 0) == sent


def test_a_client_can_opt_out() -> None:
    """With the opt-out header no text leaves, and the decision stands."""
    outcome = decide(replace(POLICY, capture=ALL), headers={Header.NO_CAPTURE: "1"})
    assert captured(outcome) == []
    assert Key.CAPTURED not in check(outcome, "cheap", Reason.SCORE)


def test_a_capture_that_fails_costs_nothing() -> None:
    """Where the evaluator's cluster is not there, the request is served as decided and not marked."""
    outcome = decide(replace(POLICY, capture=ALL), capture=False)
    assert Key.CAPTURED not in check(outcome, "cheap", Reason.SCORE)


def test_no_credential_is_captured() -> None:
    """The client's Authorization and cookies are in no call that a script makes."""
    outcome = decide(
        replace(POLICY, capture=ALL), headers={"authorization": "Bearer s3cret", "cookie": "s3cret"}
    )
    assert len(outcome.calls) == 2
    assert "s3cret" not in repr(outcome.calls)


def test_a_request_of_a_rollout_says_so() -> None:
    """The arm's label is in the record of every decision, failed ones too; without one nothing is."""
    labelled = replace(POLICY, arms=(replace(ASKING, label="0a1b2c3d/1/c"),))
    assert decide(labelled).record(DECISION)[Key.ROLLOUT] == "0a1b2c3d/1/c"
    unreadable = decide(labelled, (({":status": "200", "inference-header-content-length": "x"}), None))
    assert unreadable.record(DECISION)[Key.ROLLOUT] == "0a1b2c3d/1/c"
    assert Key.ROLLOUT not in decide().record(DECISION)


def test_a_label_costs_its_bytes_and_no_more() -> None:
    """The rest of the record is the same, and no call of Envoy is added."""
    labelled = decide(replace(POLICY, arms=(replace(ASKING, label="0a1b2c3d/1/c"),)))
    bare = decide()
    assert len(labelled.metadata[DECISION]) - len(bare.metadata[DECISION]) == len(',"rollout":"0a1b2c3d/1/c"')
    assert labelled.metadata.keys() == bare.metadata.keys()


def test_the_answers_headers_are_read_from_a_labelled_record() -> None:
    """Revision and reason reach the client whether or not the record bears a label."""
    labelled = decide(replace(POLICY, arms=(replace(ASKING, label="0a1b2c3d/1/c"),)))
    answered = WORKER.on_response([b"{}"], labelled.metadata)
    assert answered.headers[Header.REVISION] == "r1"
    assert answered.headers[Header.REASON] == Reason.SCORE
