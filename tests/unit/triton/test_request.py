"""The parser: which text of a body is classified, and what has none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.triton.backend.request import MAX_CHARACTERS, Prompt, Unreadable, bound, parse


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "42 degrees"}
SYSTEM = {"role": "system", "content": "Be brief."}

READABLE = {
    "string content": ({"messages": [user("Why?")]}, "chat", "Why?"),
    "surrounding blanks": ({"messages": [user("\n Why? \n")]}, "chat", "Why?"),
    "list content": ({"messages": [user([{"type": "text", "text": "Why?"}])]}, "chat", "Why?"),
    "two text parts": (
        {"messages": [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]},
        "chat",
        "a\nb",
    ),
    "list of strings": ({"messages": [user(["a", "b"])]}, "chat", "a\nb"),
    "image beside text": (
        {"messages": [user([IMAGE, {"type": "text", "text": "What is this?"}])]},
        "chat",
        "What is this?",
    ),
    "image only, text before": ({"messages": [user("Look:"), user([IMAGE])]}, "chat", "Look:"),
    "multi-turn": (
        {"messages": [user("first"), {"role": "assistant", "content": "yes"}, user("second")]},
        "chat",
        "second",
    ),
    "system prompt is left out": ({"messages": [SYSTEM, user("Why?")]}, "chat", "Why?"),
    "developer prompt is left out": (
        {"messages": [{"role": "developer", "content": "Be brief."}, user("Why?")]},
        "chat",
        "Why?",
    ),
    "system prompt alone": ({"messages": [SYSTEM]}, "chat", "Be brief."),
    "developer prompt alone": ({"messages": [{"role": "developer", "content": "x"}]}, "chat", "x"),
    "assistant prefill": (
        {"messages": [user("Why?"), {"role": "assistant", "content": "Because"}]},
        "chat",
        "Why?",
    ),
    "tool call and its result": ({"messages": [user("Weather?"), CALL, RESULT]}, "chat", "Weather?"),
    "turns that are no objects": ({"messages": [None, 3, user("Why?"), "x"]}, "chat", "Why?"),
    "parts that are no text": (
        {"messages": [user([{"type": "text"}, 3, None, {"text": "x"}, "y"])]},
        "chat",
        "y",
    ),
    "messages as a string": ({"messages": "Why?"}, "chat", "Why?"),
    "half a surrogate pair": ({"messages": [user("a\ud800b")]}, "chat", "a?b"),
    "beyond ASCII": ({"messages": [user("为什么天空是蓝色的")]}, "chat", "为什么天空是蓝色的"),
    "completion": ({"prompt": "Once upon"}, "completions", "Once upon"),
    "completion, several prompts": ({"prompt": ["a", "b"]}, "completions", "a\nb"),
    "response, string": ({"input": "Why?", "instructions": "Be brief."}, "responses", "Why?"),
    "response, items": (
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]},
        "responses",
        "Why?",
    ),
    "response, tool output behind": (
        {"input": [user("Weather?"), {"type": "function_call_output", "output": "42"}]},
        "responses",
        "Weather?",
    ),
    "response, instructions alone": ({"input": [], "instructions": "Say hello."}, "responses", "Say hello."),
    "chat before completion": ({"messages": [user("chat")], "prompt": "completion"}, "chat", "chat"),
}

UNREADABLE = {
    "empty": (b"", "empty"),
    "blanks": (b" \r\n", "empty"),
    "not JSON": (b"hello", "json"),
    "cut off": (b'{"messages": [', "json"),
    "not UTF-8": (b'{"prompt": "\xff"}', "encoding"),
    "UTF-16": ('{"prompt": "x"}'.encode("utf-16"), "encoding"),
    "too deep": (b"[" * 100_000, "json"),
    "absurd number": (b'{"prompt": ' + b"9" * 5000 + b"}", "json"),
    "a list": (b"[1]", "form"),
    "a string": (b'"messages"', "form"),
    "null": (b"null", "form"),
    "no prompt at all": (b'{"model": "auto"}', "form"),
    "embeddings of token ids": (b'{"input": [[1, 2]]}', "no_text"),
    "no messages": (b'{"messages": []}', "no_text"),
    "messages of the wrong type": (b'{"messages": {"role": "user"}}', "no_text"),
    "blank turn": (b'{"messages": [{"role": "user", "content": "  "}]}', "no_text"),
    "null content": (b'{"messages": [{"role": "user", "content": null}]}', "no_text"),
    "number as content": (b'{"messages": [{"role": "user", "content": 3}]}', "no_text"),
    "tool result alone": (json.dumps({"messages": [RESULT]}).encode(), "no_text"),
    "image alone": (json.dumps({"messages": [user([IMAGE])]}).encode(), "no_text"),
    "token ids": (b'{"prompt": [1, 2, 3]}', "no_text"),
    "instructions of the wrong type": (b'{"input": [], "instructions": 3}', "no_text"),
}


@pytest.mark.parametrize("case", READABLE)
def test_readable(case: str) -> None:
    """Each kind of body gives its form and the text to classify."""
    body, form, text = READABLE[case]
    assert parse(json.dumps(body).encode()) == Prompt(text, form)


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable(case: str) -> None:
    """A body without text gives the reason, and words for the log."""
    body, reason = UNREADABLE[case]
    found = parse(body)
    assert isinstance(found, Unreadable)
    assert found.reason == reason
    assert 0 < len(found.message) < 300


def test_byte_order_mark() -> None:
    """A UTF-8 byte order mark is skipped."""
    assert parse(b'\xef\xbb\xbf{"prompt": "x"}') == Prompt("x", "completions")


def test_a_megabyte() -> None:
    """A huge turn keeps its first and its last half of the limit."""
    text = "begin " + "x " * 500_000 + "end"
    found = parse(json.dumps({"messages": [user(text)]}).encode())
    assert isinstance(found, Prompt)
    assert found.truncated
    assert len(found.text) == MAX_CHARACTERS + 1
    assert found.text.startswith("begin x")
    assert found.text.endswith("x end")


def test_at_the_limit() -> None:
    """A text of exactly the limit is whole."""
    text = "x" * MAX_CHARACTERS
    assert parse(json.dumps({"prompt": text}).encode()) == Prompt(text, "completions")


@given(st.binary(max_size=400))
def test_never_raises_on_bytes(body: bytes) -> None:
    """Whatever the bytes, there is a result."""
    assert isinstance(parse(body), Prompt | Unreadable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "messages", "input", "prompt"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["messages", "input", "prompt"]), JSON, JSON)
def test_never_raises_on_json(field: str, value: Any, instructions: Any) -> None:
    """Whatever JSON stands in the prompt's place, there is a result; text is bounded, not blank."""
    found = parse(json.dumps({field: value, "instructions": instructions}).encode())
    if isinstance(found, Prompt):
        assert found.text.strip()
        assert len(found.text.encode()) <= 4 * (MAX_CHARACTERS + 1)


@given(st.text(max_size=3 * MAX_CHARACTERS))
def test_bound_is_bounded(text: str) -> None:
    """A text is never longer than the limit and the line break that stands for what was cut."""
    assert len(bound(text)) <= MAX_CHARACTERS + 1
