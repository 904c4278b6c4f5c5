"""Which tier serves, and which reason is counted: in Envoy's own counter and in the access log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from envoy_kit.servers import classifier_answer, slow, status_answer
from envoy_rig import BROKEN, CLASSIFY_LIMIT, PINNED, QUESTION, SHARED, SOLE, Rig
from pointsman.contract import FAIL_OPEN, Header, Reason

if TYPE_CHECKING:
    from envoy_kit.servers import Handler

SCORED = classifier_answer([0.9, 1.0])


def check(rig: Rig, host: str, body: bytes, *, tier: str, reason: Reason, policy: str) -> None:
    """Send a body; the tier must serve, and client, counter and access log must name the reason."""
    before = rig.counted(reason)
    response = rig.ask(body, host=host)
    assert response.status_code == 200, response.text
    served = {"cheap": rig.cheap, "strong": rig.strong}
    assert [name for name, server in served.items() if server.received] == [tier]
    assert response.headers[Header.SERVED_TIER] == tier
    assert response.headers[Header.REASON] == reason
    assert rig.counted(reason) == before + 1
    record = rig.record(response)
    assert (record.policy, record.served_tier, record.reason) == (policy, tier, reason)


@pytest.mark.parametrize(
    ("classifier", "tier", "reason"),
    [
        pytest.param(classifier_answer([0.9, 1.0]), "cheap", Reason.SCORE, id="above the threshold"),
        pytest.param(classifier_answer([0.64, 1.0]), "cheap", Reason.SCORE, id="at the threshold"),
        pytest.param(classifier_answer([0.63, 1.0]), "strong", Reason.BELOW_THRESHOLD, id="below it"),
        pytest.param(
            classifier_answer([0.9, 1.0], "legal"), "strong", Reason.INTENT_RULE, id="an intent with a tier"
        ),
        pytest.param(slow(2.0, SCORED), "strong", Reason.CLASSIFIER_TIMEOUT, id="Triton is slow"),
        pytest.param(status_answer(503), "strong", Reason.CLASSIFIER_UNAVAILABLE, id="Triton is overloaded"),
        pytest.param(status_answer(500), "strong", Reason.CLASSIFIER_ERROR, id="Triton answers 500"),
        pytest.param(status_answer(400), "strong", Reason.CLASSIFIER_ERROR, id="the model is not loaded"),
        pytest.param(
            status_answer(200, b"<html>"), "strong", Reason.CLASSIFIER_NONSENSE, id="Triton talks nonsense"
        ),
        pytest.param(
            classifier_answer([0.9, 0.9, 1.0]), "strong", Reason.CLASSIFIER_NONSENSE, id="a score too many"
        ),
        pytest.param(
            classifier_answer([float("nan"), 1.0]), "strong", Reason.CLASSIFIER_NONSENSE, id="no number"
        ),
    ],
)
def test_the_classifiers_answer_decides(rig: Rig, classifier: Handler, tier: str, reason: Reason) -> None:
    """A usable answer in time chooses the tier; anything else is strong, with its own reason."""
    rig.triton.answer = classifier
    check(rig, SOLE, json.dumps(QUESTION).encode(), tier=tier, reason=reason, policy="team/sole")


def test_triton_is_down(rig: Rig) -> None:
    """Nobody listens where Triton should: strong serves at once."""
    rig.loop.run(rig.triton.stop())
    try:
        check(
            rig,
            SOLE,
            json.dumps(QUESTION).encode(),
            tier="strong",
            reason=Reason.CLASSIFIER_UNAVAILABLE,
            policy="team/sole",
        )
    finally:
        rig.loop.run(rig.triton.start())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", Reason.BODY_EMPTY, id="empty"),
        pytest.param(b"What is a pointsman?", Reason.BODY_UNREADABLE, id="not JSON"),
        pytest.param(b'{"messages": []}', Reason.BODY_UNREADABLE, id="no model"),
        pytest.param(b'{"model": 7}', Reason.BODY_UNREADABLE, id="a model that is no string"),
        pytest.param(b'["model", "auto"]', Reason.BODY_UNREADABLE, id="not an object"),
        pytest.param(
            b'{"model":"auto","a":' + b"[" * 600_000 + b"]" * 600_000 + b"}",
            Reason.BODY_HOSTILE,
            id="hostile nesting",
        ),
        pytest.param(
            json.dumps(QUESTION | {"x": "y" * CLASSIFY_LIMIT}).encode(), Reason.BODY_TOO_LARGE, id="too large"
        ),
    ],
)
def test_a_body_that_cannot_be_classified_goes_to_strong(rig: Rig, body: bytes, reason: Reason) -> None:
    """On a host with one policy every body is answered, by strong, with its reason counted."""
    assert reason in FAIL_OPEN
    check(rig, SOLE, body, tier="strong", reason=reason, policy="team/sole")
    assert not rig.triton.received


@pytest.mark.parametrize("tail", [b',"model":"evil"}', b',"mo\\u0064el":"evil"}', b',"MODEL":"evil"} {}'])
def test_a_hostile_body_names_no_model_behind_our_back(rig: Rig, tail: bytes) -> None:
    """Too deep to read to its end, with a model where nobody looked: refused, and no tier ever sees it."""
    response = rig.ask(b'{"a":' + b"[" * 600_000 + b"]" * 600_000 + tail)
    assert response.status_code == 400
    assert rig.record(response).reason == Reason.BODY_HOSTILE
    assert not rig.cheap.received
    assert not rig.strong.received


def test_a_script_error_goes_to_strong(rig: Rig) -> None:
    """A table that the script stumbles over costs money, never an answer."""
    rig.triton.answer = SCORED
    body = json.dumps(QUESTION).encode()
    check(rig, BROKEN, body, tier="strong", reason=Reason.SCRIPT_ERROR, policy="team/broken")


@pytest.mark.parametrize(
    ("host", "model", "policy", "expected"),
    [
        (PINNED, "auto", "team/pinned", ("cheap", Reason.PINNED)),
        (SHARED, "a", "team/shared-a", ("cheap", Reason.PINNED)),
        (SHARED, "b", "team/shared-b", ("strong", Reason.ALWAYS_STRONG)),
    ],
)
def test_fixed_choices_ask_no_classifier(
    rig: Rig, host: str, model: str, policy: str, expected: tuple[str, Reason]
) -> None:
    """A pin and always-strong decide by themselves; two policies on one host are told apart by model."""
    body = json.dumps(QUESTION | {"model": model}).encode()
    check(rig, host, body, tier=expected[0], reason=expected[1], policy=policy)
    assert not rig.triton.received


def test_an_unknown_model_is_a_404_in_openais_shape(rig: Rig) -> None:
    """A model that no policy on the host serves reaches no tier."""
    before = rig.counted(Reason.UNKNOWN_MODEL)
    response = rig.ask(QUESTION | {"model": "gpt-9"}, host=SHARED)
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        "model",
        "model_not_found",
    )
    assert "gpt-9" in error["message"]
    assert rig.counted(Reason.UNKNOWN_MODEL) == before + 1
    assert rig.record(response).reason == Reason.UNKNOWN_MODEL
    assert not rig.cheap.received
    assert not rig.strong.received


def test_an_unreadable_body_on_a_shared_host_is_a_400(rig: Rig) -> None:
    """With several policies on a host nobody guesses whose request it is."""
    response = rig.ask(b"hello", host=SHARED)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == Reason.NO_POLICY
    assert rig.record(response).reason == Reason.NO_POLICY
    assert not rig.cheap.received
    assert not rig.strong.received


def test_a_body_beyond_the_buffer_is_a_413_in_openais_shape(rig: Rig) -> None:
    """What cannot be held cannot be routed, and says so as an OpenAI client expects."""
    response = rig.ask(QUESTION | {"x": "y" * (3 * 1024 * 1024)})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    assert not rig.strong.received


def test_models_of_a_host_are_listed(rig: Rig) -> None:
    """GET /v1/models answers with what the host's policies serve."""
    answer = rig.client.get(f"http://{rig.entry}/v1/models", headers={"host": SHARED}).json()
    assert [model["id"] for model in answer["data"]] == ["a", "b"]
