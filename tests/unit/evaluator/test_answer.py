"""What is kept of a captured body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.evaluator.answer import keep, messages_of_stream
from pointsman.evaluator.prices import CaptureRule
from pointsman.evaluator.redact import FINDERS

RULE = CaptureRule(max_bytes=262_144, redact=tuple(FINDERS), retention_s=3600)
SSE = "text/event-stream; charset=utf-8"


def stream(*deltas: dict[str, Any], end: str = "\n\n") -> bytes:
    lines = [f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}" for delta in deltas]
    return (end.join([*lines, "data: [DONE]"]) + end).encode()


def content(*pieces: str) -> bytes:
    return stream({"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces))


def test_a_prompt_is_kept_as_json_without_its_findings() -> None:
    """The request stays replayable: its JSON, shape and other fields untouched."""
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "I am jane@mail.example"}],
        "temperature": 0.5,
    }
    kept = keep("request", json.dumps(body).encode(), "application/json", RULE, truncated=False)
    body["messages"] = [{"role": "user", "content": "I am [email]"}]
    assert (kept.form, json.loads(kept.text), kept.truncated) == ("json", body, False)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_a_stream_is_put_together_before_it_is_redacted(end: str) -> None:
    """An address whose letters came in five events is found; the raw events are not kept."""
    body = stream(
        *({"content": piece} for piece in ("write to ja", "ne@", "mail.", "exam", "ple now")), end=end
    )
    kept = keep("response", body, SSE, RULE, truncated=False)
    assert (kept.form, kept.text) == ("text", "write to [email] now")


@given(st.lists(st.integers(1, 12), max_size=20))
def test_no_way_of_cutting_a_stream_hides_a_secret(cuts: list[int]) -> None:
    """However an answer is split over events, what is kept is the same."""
    answer, pieces = "key sk-proj-abcDEF0123456789 for 4111 1111 1111 1111, call +49 30 1234567", []
    rest = answer
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    kept = keep("response", content(*pieces, rest), SSE, RULE, truncated=False)
    assert kept.text == "key [secret] for [card], call [phone]"


def test_an_answer_in_json_is_its_text() -> None:
    """A chat completion's one message is kept as text."""
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "from 10.0.0.1"}}]}).encode()
    kept = keep("response", body, "application/json", RULE, truncated=False)
    assert (kept.form, kept.text) == ("text", "from [ip]")


def test_tool_calls_refusals_and_choices_are_kept_as_messages() -> None:
    """Arguments that came in pieces are read as the JSON that they are, then redacted."""
    body = stream(
        {"tool_calls": [{"index": 0, "function": {"name": "mail", "arguments": '{"to":"a\\u00'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '40b.example"}'}}], "refusal": "no"},
    )
    kept = keep("response", body, SSE, RULE, truncated=False)
    assert kept.form == "messages"
    assert json.loads(kept.text) == [
        {"content": "", "refusal": "no", "tool_calls": [{"name": "mail", "arguments": {"to": "[email]"}}]}
    ]


def test_other_stream_dialects_are_read() -> None:
    """Text completions and the responses API stream their text under other names."""
    completion = (
        'data: {"choices":[{"index":1,"text":"b"}]}\n\ndata: {"choices":[{"index":0,"text":"a"}]}\n\n'
    )
    responses = 'event: x\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
    assert messages_of_stream(completion) == [{"content": "a"}, {"content": "b"}]
    assert messages_of_stream(responses) == [{"content": "hi"}]


def test_what_is_too_long_is_cut_and_loses_its_tail() -> None:
    """Half a pattern at the cut is not recognisable, so the last characters go."""
    rule = CaptureRule(max_bytes=1024, redact=("CreditCard",), retention_s=1)
    body = b"x" * 1010 + b" 4111 1111 1111 1111"
    kept = keep("request", body, "application/json", rule, truncated=False)
    assert kept.truncated
    assert kept.form == "raw"
    assert "4111" not in kept.text
    stream_kept = keep("response", content("y" * 500, "secret 4111 1111 11"), SSE, RULE, truncated=True)
    assert "4111" not in stream_kept.text
    assert stream_kept.text.startswith("yyyy")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 5000,
        b'"\\ud800"',
        b'{"choices":[{"message":7},3]}',
        b'{"choices":{"a":1}}',
        b"data: {\n\ndata: 7\n\n",
        b'data: {"choices":[{"delta":{"tool_calls":[null,{"function":3}]}}]}\n\n',
        b"1" * 10_000,
    ],
)
@pytest.mark.parametrize("half", ["request", "response"])
def test_no_body_is_too_odd(half: Any, body: bytes) -> None:
    """Bodies that are no JSON, too deep, of wrong types or of broken text are kept as something storable."""
    kept = keep(half, body, "application/json", RULE, truncated=False)
    kept.text.encode()


def test_escapes_hide_nothing_in_what_cannot_be_parsed() -> None:
    """A truncated JSON body is read without its escapes before it is redacted."""
    kept = keep(
        "request", rb'{"content":"a\u0040b.example and more', "application/json", RULE, truncated=False
    )
    assert kept.text == '{"content":"[email] and more'
