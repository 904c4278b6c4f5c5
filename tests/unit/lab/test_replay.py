"""What a replay tier answers."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.lab.replay import (
    Answer,
    BadRequestError,
    Faults,
    Latency,
    chunk,
    completion,
    look_up,
    question,
)

RECORDED = Answer("The answer is (B).", 100, 50, recorded=True)


def test_latency_is_the_same_for_the_same_seed_and_prompt() -> None:
    """Another seed or another prompt gives another one."""
    latency = Latency(seed=1, speed=1)
    assert latency.of("p", RECORDED) == latency.of("p", RECORDED)
    assert latency.of("p", RECORDED) != latency.of("q", RECORDED)
    assert latency.of("p", RECORDED) != Latency(seed=2, speed=1).of("p", RECORDED)


def test_latency_grows_with_tokens_and_shrinks_with_speed() -> None:
    """About 0.2 s + 0.2 ms a prompt token, then 10 ms a token; speed divides it; 0 waits never."""
    firsts, rests = zip(*(Latency(seed, 1).of("p", RECORDED) for seed in range(200)), strict=True)
    assert statistics.median(firsts) == pytest.approx(0.22, rel=0.1)
    assert statistics.median(rests) == pytest.approx(0.5, rel=0.1)
    slow, fast = Latency(3, 1).of("p", RECORDED), Latency(3, 10).of("p", RECORDED)
    assert fast == pytest.approx([part / 10 for part in slow])
    assert Latency(3, 0).of("p", RECORDED) == (0, 0)


def test_faults_strike_their_share_and_the_same_requests_each_time() -> None:
    """200 permille of 5,000 are about 1,000, and a seed repeats them."""
    one, two = Faults(status=500, share_permille=200, seed=7), Faults(status=500, share_permille=200, seed=7)
    struck = [one.strikes() for _ in range(5000)]
    assert struck == [two.strikes() for _ in range(5000)]
    assert 900 < sum(struck) < 1100


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([], "must be a JSON object"),
        ({"code": 500}, "code: unknown"),
        ({"status": 200}, "status: must be"),
        ({"status": "500"}, "status: must be"),
        ({"share_permille": 1001}, "share_permille: must be"),
        ({"empty": 1}, "empty: must be"),
        ({"delay_ms": -1}, "delay_ms: must be"),
        ({"_draw": 1}, "_draw: unknown"),
    ],
)
def test_bad_faults_are_refused_by_name(faults: Any, message: str) -> None:
    """A fault that means nothing is an error, not a silence."""
    with pytest.raises(BadRequestError, match=message):
        Faults.from_json(faults)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hello", "hello"),
        (
            [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {}},
                {"type": "text", "text": "b"},
            ],
            "a\nb",
        ),
        (None, ""),
    ],
)
def test_the_last_user_turn_is_the_question(content: Any, expected: str) -> None:
    """Earlier turns, the system's and the assistant's, are not."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "earlier"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": content},
    ]
    assert question(json.dumps({"model": "m", "messages": messages}).encode(), chat=True)[1] == expected


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": 1}', b'{"model": "m"}', b'{"model": "m", "messages": []}']
)
def test_an_unreadable_request_is_refused(body: bytes) -> None:
    """What is no chat request is a 400."""
    with pytest.raises(BadRequestError):
        question(body, chat=True)


@given(st.text())
def test_a_stream_holds_the_whole_text(text: str) -> None:
    """Joined, the pieces are the answer, byte by byte."""
    assert "".join(Answer(text, 0, 0, recorded=True).pieces()) == text


def test_an_unknown_prompt_gets_a_marked_echo() -> None:
    """Nobody can take it for a recorded answer."""
    answer = look_up({"known": RECORDED}, "m", "unknown")
    assert not answer.recorded
    assert answer.text.startswith("[replay tier, m: no recorded answer")
    assert look_up({"known": RECORDED}, "m", "known") is RECORDED


def test_chat_and_completion_have_openai_shapes() -> None:
    """The text is where clients look for it."""
    identity = {"id": "i", "created": 0, "model": "m"}
    assert completion(identity, RECORDED, chat=True)["choices"][0]["message"]["content"] == RECORDED.text
    assert completion(identity, RECORDED, chat=False)["choices"][0]["text"] == RECORDED.text
    assert completion(identity, RECORDED, chat=True)["usage"]["total_tokens"] == 150
    assert chunk(identity, "x", chat=True, first=True)["choices"][0]["delta"] == {
        "role": "assistant",
        "content": "x",
    }
    assert chunk(identity, None, chat=True)["choices"][0] == {
        "index": 0,
        "logprobs": None,
        "finish_reason": "stop",
        "delta": {},
    }
