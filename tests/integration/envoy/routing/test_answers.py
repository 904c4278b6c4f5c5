"""What comes back: failover, streams, usage, emptiness, captures, and clients that leave."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from envoy_kit.servers import chat_answer, classifier_answer, slow, status_answer, stream_answer
from envoy_rig import PINNED, QUESTION, SOLE, Rig
from pointsman.contract import Header, Reason
from wait import until_sync

EVENTS = [
    b'data: {"model":"cheap-1","choices":[{"delta":{"content":"Hel"}}]}\n\n',
    b'data: {"model":"cheap-1","choices":[{"delta":{"content":"lo."}}]}\n\n',
    b'data: {"model":"cheap-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_failing_tier_is_replaced_by_strong(rig: Rig, status: int) -> None:
    """The chosen tier fails before its first byte: strong answers, with its own key and model."""
    rig.cheap.answer = status_answer(status)
    response = rig.ask()
    assert response.status_code == 200
    assert response.headers[Header.SERVED_TIER] == "strong"
    (received,) = rig.strong.received
    assert json.loads(received.body)["model"] == "large-1"
    assert {k.lower(): v for k, v in received.headers.items()}["authorization"] == "Bearer key-strong"
    record = rig.record(response)
    assert (record.tier, record.served_tier, record.reason) == ("cheap", "strong", Reason.SCORE)
    assert record.failed_over


def test_a_tier_that_is_down_is_replaced_by_strong(rig: Rig) -> None:
    """Nobody listens at the chosen tier: strong answers."""
    rig.loop.run(rig.cheap.stop())
    try:
        response = rig.ask()
    finally:
        rig.loop.run(rig.cheap.start())
    assert (response.status_code, response.headers[Header.SERVED_TIER]) == (200, "strong")
    assert rig.record(response).failed_over


def test_strong_down_is_an_error_in_openais_shape(rig: Rig) -> None:
    """With nothing left to fail over to the client gets a 5xx it can parse, and it is counted."""
    rig.triton.answer = classifier_answer([0.1, 1.0])
    rig.loop.run(rig.strong.stop())
    try:
        response = rig.ask()
    finally:
        rig.loop.run(rig.strong.start())
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "server_error"
    assert rig.record(response).status == 503


def test_a_clients_mistake_is_no_failover(rig: Rig) -> None:
    """A 400 of the tier is the client's: it comes back as it is, and is not paid for twice."""
    rig.cheap.answer = status_answer(400, b'{"error":{}}')
    assert rig.ask().status_code == 400
    assert not rig.strong.received


def test_a_stream_passes_chunk_by_chunk_unchanged(rig: Rig) -> None:
    """The first event reaches the client while the upstream still holds back the second."""
    gate = asyncio.Event()
    rig.cheap.answer = stream_answer(EVENTS, gate=gate)
    body = json.dumps(QUESTION | {"stream": True})
    url = f"http://{rig.entry}/v1/chat/completions"
    with rig.client.stream("POST", url, content=body, headers={"host": PINNED}) as response:
        arriving = response.iter_raw()
        first = next(arriving)
        assert first == EVENTS[0]
        rig.loop.loop.call_soon_threadsafe(gate.set)
        assert first + b"".join(arriving) == b"".join(EVENTS)
    record = rig.record(response)
    assert record.stream
    assert (record.prompt_tokens, record.completion_tokens, record.answer_model) == (5, 2, "cheap-1")
    assert not record.empty


def test_usage_of_a_json_answer_is_logged(rig: Rig) -> None:
    """Tokens and the model that really answered are read on the way back."""
    record = rig.record(rig.ask())
    assert (record.prompt_tokens, record.completion_tokens, record.answer_model) == (11, 7, "cheap-1")
    assert record.score == pytest.approx(0.9, abs=1e-6)
    assert record.intent == "other"
    assert record.decision_us is not None
    assert 0 < record.decision_us < 300_000


@pytest.mark.parametrize(
    ("content", "message", "empty", "refusal"),
    [
        ("", {}, True, False),
        (None, {}, True, False),
        (None, {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]}, False, False),
        (None, {"refusal": "I cannot help with that."}, False, True),
    ],
)
def test_empty_answers_and_refusals_are_told_apart(
    rig: Rig, content: str | None, message: dict[str, object], *, empty: bool, refusal: bool
) -> None:
    """A 200 without text or tool call is empty; a refusal is not."""
    rig.cheap.answer = chat_answer("cheap-1", content, **message)
    record = rig.record(rig.ask())
    assert (record.empty, record.refusal) == (empty, refusal)


def test_text_is_captured_in_two_halves(rig: Rig) -> None:
    """Request and answer of a sampled request reach the evaluator, without credentials."""
    response = rig.ask(headers={"authorization": "Bearer client", "cookie": "c=1"})
    until_sync(lambda: len(rig.capture.received) == 2, 10, what="both halves")
    request, answer = sorted(rig.capture.received, key=lambda half: half.path, reverse=False)
    assert (request.path, answer.path) == ("/v1/capture/request", "/v1/capture/response")
    assert json.loads(request.body) == QUESTION
    assert answer.body == response.content
    for half in (request, answer):
        headers = {name.lower(): value for name, value in half.headers.items()}
        assert headers["x-request-id"] == response.headers["x-request-id"]
        assert headers["x-pointsman-policy"] == "team/sole"
        assert not {"authorization", "cookie"} & set(headers)
    assert rig.record(response).captured


def test_who_opts_out_is_not_captured(rig: Rig) -> None:
    """The opt-out keeps the text out, and changes nothing else."""
    response = rig.ask(headers={Header.NO_CAPTURE.value: "1"})
    assert response.headers[Header.SERVED_TIER] == "cheap"
    assert not rig.record(response).captured
    assert not rig.capture.received


def test_a_capture_that_fails_costs_no_request(rig: Rig) -> None:
    """The evaluator is away: requests are answered as ever."""
    rig.loop.run(rig.capture.stop())
    try:
        assert [rig.ask().status_code for _ in range(5)] == [200] * 5
    finally:
        rig.loop.run(rig.capture.start())


def test_a_client_that_leaves_is_logged(rig: Rig) -> None:
    """The client hangs up before the answer: the access log still counts the request."""
    rig.cheap.answer = slow(3.0, chat_answer("cheap-1"))
    url = f"http://{rig.entry}/v1/chat/completions"
    headers = {"host": SOLE, "x-session-id": "impatient"}
    with httpx.Client(timeout=0.5) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post(url, json=QUESTION, headers=headers)

    def logged() -> list[str]:
        entries = list(rig.log.entries)
        return [e.request.request_id for e in entries if "impatient" in str(e.request.request_headers)]

    record = rig.record_of(until_sync(logged, 10, what="an entry")[0])
    assert (record.policy, record.tier, record.status) == ("team/sole", "cheap", 0)
    assert "downstream_connection_termination" in record.flags
