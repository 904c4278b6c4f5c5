"""The short way to a tier, past its listener: as right as the long one, also when it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from envoy_kit.servers import classifier_answer, slow, status_answer, stream_answer
from envoy_rig import QUESTION, SHARED, SOLE, SPLIT, Rig
from pointsman.contract import Header, Reason

if TYPE_CHECKING:
    from envoy_kit.servers import Received

LISTENERS = r"^http\.tier\.downstream_rq_total$"
"""Requests that took a tier's listener, either tier's."""


def check_received(received: Received, *, model: str, key: str, path: str) -> None:
    """Assert what a tier got: its model, its key, its path, and nothing of ours or the client's."""
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert json.loads(received.body) == QUESTION | {"model": model}
    assert headers["authorization"] == f"Bearer {key}"
    assert received.path == path
    ours = [name for name in headers if name.startswith(("x-pointsman-", "x-envoy-", "x-forwarded-"))]
    assert not ours
    assert not {"cookie", "accept-encoding", "x-api-key"} & set(headers)


@pytest.mark.parametrize("tier", ["cheap", "strong"])
def test_a_decided_request_takes_it(short: Rig, tier: str) -> None:
    """The chosen tier gets its own model, key and path, and no listener was on the way."""
    short.triton.answer = classifier_answer([0.9 if tier == "cheap" else 0.1, 1.0])
    before = short.stat(LISTENERS)
    client = {"authorization": "Bearer client", "cookie": "a=b", "accept-encoding": "gzip", "x-api-key": "k"}
    response = short.ask(headers=client)
    assert response.headers[Header.SERVED_TIER] == tier
    assert short.stat(LISTENERS) == before
    if tier == "cheap":
        check_received(short.cheap.received[0], model="small-1", key="key-cheap", path="/v1/chat/completions")
    else:
        check_received(
            short.strong.received[0], model="large-1", key="key-strong", path="/api/v1/chat/completions"
        )
    assert short.record(response).served_tier == tier


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_goes_to_strongs_listener(short: Rig, status: int) -> None:
    """The second attempt has strong's model, key and path, whatever the first one was given."""
    short.cheap.answer = status_answer(status)
    before = short.stat(LISTENERS)
    response = short.ask()
    assert (response.status_code, response.headers[Header.SERVED_TIER]) == (200, "strong")
    assert short.stat(LISTENERS) == before + 1
    check_received(short.cheap.received[0], model="small-1", key="key-cheap", path="/v1/chat/completions")
    check_received(
        short.strong.received[0], model="large-1", key="key-strong", path="/api/v1/chat/completions"
    )
    record = short.record(response)
    assert (record.tier, record.served_tier, record.reason) == ("cheap", "strong", Reason.SCORE)


def test_a_tier_that_is_down_is_replaced(short: Rig) -> None:
    """Nobody listens at the tier: strong answers."""
    short.loop.run(short.cheap.stop())
    try:
        response = short.ask()
    finally:
        short.loop.run(short.cheap.start())
    assert (response.status_code, response.headers[Header.SERVED_TIER]) == (200, "strong")


def test_a_silent_tier_is_replaced_after_its_idle_time(short: Rig) -> None:
    """A tier that takes the request and says nothing for its idle time (5 s here) is given up for strong."""
    short.cheap.answer = slow(60, status_answer(200))
    response = short.ask()
    assert (response.status_code, response.headers[Header.SERVED_TIER]) == (200, "strong")


def test_an_answer_that_breaks_off_is_not_begun_again(short: Rig) -> None:
    """After the first byte nothing fails over: the client sees the break, and strong is not asked."""

    async def broken(request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: {}\n\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    short.cheap.answer = broken
    url, body = f"http://{short.entry}/v1/chat/completions", json.dumps(QUESTION).encode()
    with short.client.stream("POST", url, content=body, headers={"host": SOLE}) as response:
        assert response.status_code == 200
        assert next(response.iter_raw()) == b"data: {}\n\n"
    assert not short.strong.received


def test_an_upstream_cannot_say_who_served(short: Rig) -> None:
    """A tier that answers with our header is not believed."""

    async def forging(request: web.Request, body: bytes) -> web.Response:
        return web.json_response(
            {}, headers={str(Header.SERVED_TIER): "strong", str(Header.REASON): "pinned"}
        )

    short.cheap.answer = forging
    response = short.ask()
    assert response.headers[Header.SERVED_TIER] == "cheap"
    assert response.headers[Header.REASON] == Reason.SCORE
    assert short.record(response).served_tier == "cheap"


def test_another_path_takes_the_listener(short: Rig) -> None:
    """A client that leaves the /v1 out is served all the same, the long way."""
    before = short.stat(LISTENERS)
    response = short.ask(path="/chat/completions")
    assert response.headers[Header.SERVED_TIER] == "cheap"
    assert short.stat(LISTENERS) == before + 1
    check_received(short.cheap.received[0], model="small-1", key="key-cheap", path="/v1/chat/completions")


def test_a_stream_passes_unchanged(short: Rig) -> None:
    """Every event reaches the client as the tier sent it, and usage is read on the way."""
    events = [
        b'data: {"model":"m","choices":[{"delta":{"content":"Hi"}}]}\n\n',
        b'data: {"choices":[],"usa',
        b'ge":{"prompt_tokens":5,"completion_tokens":21}}\n\ndata: [DONE]\n\n',
    ]
    short.cheap.answer = stream_answer(events, pause_s=0.02)
    response = short.ask()
    assert response.content == b"".join(events)
    record = short.record(response)
    assert (record.stream, record.prompt_tokens, record.completion_tokens) == (True, 5, 21)


def test_a_second_name_for_the_model_is_rewritten_too(short: Rig) -> None:
    """A client that names the model twice steers nothing: no policy is read off it, both become strong's."""
    body = b'{"model": "auto", "mod\\u0065l": "gpt-9", "Model": "gpt-8", "messages": []}'
    response = short.ask(body)
    assert response.headers[Header.REASON] == Reason.BODY_UNREADABLE
    (received,) = short.strong.received
    assert received.body.count(b'"large-1"') == 3
    assert b"gpt" not in received.body


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"content-encoding": "gzip"}, b"\x1f\x8b\x08", id="compressed"),
        pytest.param({"content-type": "multipart/form-data; boundary=x"}, b"--x", id="a form"),
        pytest.param({}, json.dumps(QUESTION).encode("utf-16"), id="UTF-16"),
    ],
)
def test_a_model_that_cannot_be_set_reaches_no_tier(short: Rig, headers: dict[str, str], body: bytes) -> None:
    """An encoding that a lenient server would decode, and we do not, would let the client name the model."""
    response = short.ask(body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
    assert not short.strong.received
    assert not short.cheap.received


def test_a_session_keeps_its_arm(short: Rig) -> None:
    """The arm is chosen by hash of the session: the same every time, and all arms get their share."""
    sessions = [f"session-{i}" for i in range(60)]
    first = [short.ask(host=SPLIT, headers={Header.SESSION: s}).headers[Header.REVISION] for s in sessions]
    again = [short.ask(host=SPLIT, headers={Header.SESSION: s}).headers[Header.REVISION] for s in sessions]
    assert first == again
    # 300 permille of 60: 18 expected, and a binomial further off than this is one in 10,000
    assert 5 <= first.count("split-1") <= 33
    assert set(first) == {"split-1", "split-2"}


def test_a_forged_key_moves_no_session(short: Rig) -> None:
    """The header that arms are hashed on is ours: a client's copy changes nothing."""
    arms = {
        short.ask(host=SPLIT, headers={Header.SESSION: "s", Header.KEY: f"k{i}"}).headers[Header.REVISION]
        for i in range(12)
    }
    assert len(arms) == 1


def test_two_policies_on_a_host_take_it_too(short: Rig) -> None:
    """The model tells the policies apart, and each one's tiers are reached the short way."""
    before = short.stat(LISTENERS)
    served = [short.ask(QUESTION | {"model": m}, host=SHARED).headers[Header.SERVED_TIER] for m in "ab"]
    assert served == ["cheap", "strong"]
    assert short.stat(LISTENERS) == before
