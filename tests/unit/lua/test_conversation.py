"""Naming the conversation that a request belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lua_kit import functions, plain

BUDGET = 1_000_000
MEBIBYTE = 1024 * 1024
_opening, _conversation, _scan = functions("dispatch", "opening", "conversation", "scan")

SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be brief."}
USER = {"role": "user", "content": "Why?"}
LATER = [{"role": "assistant", "content": "So."}, {"role": "user", "content": "Oh"}, {"role": "user"}]


def opening(body: bytes, budget: int = BUDGET) -> tuple[bytes | None, bytes | None]:
    """Return the bytes found of the system prompt and of the first user turn."""
    found = _opening(body, budget)
    system, user = found if isinstance(found, tuple) else (found, None)
    return tuple(body[span[1] - 1 : span[2]] if span else None for span in (system, user))  # type: ignore[return-value]


def conversation(body: Any, budget: int = BUDGET) -> str | None:
    """Return the conversation's name."""
    found: str | None = plain(_conversation(json.dumps(body).encode(), budget))
    return found


@pytest.mark.parametrize(
    ("body", "system", "user"),
    [
        pytest.param({"messages": [SYSTEM, USER, *LATER]}, "Be brief.", "Why?", id="chat"),
        pytest.param({"messages": [DEVELOPER, USER]}, "Be brief.", "Why?", id="developer"),
        pytest.param({"messages": [USER, *LATER]}, None, "Why?", id="no system prompt"),
        pytest.param({"messages": [USER, SYSTEM]}, None, "Why?", id="a system prompt that came later"),
        pytest.param({"messages": [SYSTEM]}, "Be brief.", None, id="no user turn"),
        pytest.param({"messages": [[USER], "Why?", USER]}, None, "Why?", id="stray values in the list"),
        pytest.param({"messages": USER}, None, None, id="messages that are no list"),
        pytest.param({"a": {"messages": [USER]}, "messages": [SYSTEM]}, "Be brief.", None, id="nested"),
        pytest.param({"messages": [{"role": "user", "content": None}, USER]}, None, "Why?", id="no content"),
        pytest.param(
            {"messages": [{"x": {"role": "user"}, "content": "x"}, USER]}, None, "Why?", id="deep role"
        ),
        pytest.param({"input": "Why?", "instructions": "Be brief."}, "Be brief.", "Why?", id="responses"),
        pytest.param(
            {"input": [USER], "instructions": "Be brief."}, "Be brief.", "Why?", id="responses, list"
        ),
        pytest.param({"input": [SYSTEM, USER]}, "Be brief.", "Why?", id="responses, system in the list"),
        pytest.param({"prompt": "Why?"}, None, "Why?", id="completions"),
        pytest.param({"content": "x", "role": "user"}, None, None, id="a message at the top"),
    ],
)
def test_finds_system_prompt_and_first_user_turn(body: Any, system: str | None, user: str | None) -> None:
    """The contents' own bytes, wherever the members stand; what looks alike elsewhere is passed over."""
    found = opening(json.dumps(body).encode())
    assert found == tuple(json.dumps(text).encode() if text else None for text in (system, user))


def test_content_that_is_a_list_is_taken_whole() -> None:
    """Texts and images of a turn are one value, nested brackets and quotes included."""
    parts = [
        {"type": "text", "text": 'a "]" b'},
        {"type": "image_url", "image_url": {"url": "data:…", "x": [1]}},
    ]
    body = json.dumps({"messages": [{"content": parts, "role": "user"}, *LATER]}).encode()
    assert opening(body) == (None, json.dumps(parts).encode())


def test_a_conversation_keeps_its_name_as_it_grows() -> None:
    """Added turns, tools, parameters or a later system prompt are the same conversation."""
    start = {"messages": [SYSTEM, USER], "model": "auto"}
    grown = {
        "temperature": 0.2,
        "tools": [{"function": {"name": "f"}}],
        "messages": [SYSTEM, USER, *LATER, SYSTEM],
    }
    assert conversation(start) == conversation(grown) is not None


def test_other_beginnings_are_other_conversations() -> None:
    """Another system prompt, another first turn, none, or the same texts in other places."""
    names = [
        conversation({"messages": messages})
        for messages in (
            [SYSTEM, USER],
            [USER],
            [SYSTEM | {"content": "Be long."}, USER],
            [SYSTEM, USER | {"content": "How?"}],
            [SYSTEM | {"content": "Why?"}, USER | {"content": "Be brief."}],
            [USER | {"content": [{"type": "text", "text": "Why?"}]}],
        )
    ]
    assert len(set(names)) == len(names)
    assert None not in names


@pytest.mark.parametrize("at", [10, 50_000, 99_990])
def test_long_texts_are_told_apart_by_both_ends_and_length(at: int) -> None:
    """Of a long text only the ends and the length count: that bounds the work, and a name stays a name."""
    text = "word " * 20_000
    changed = text[:at] + "#" + text[at + 1 :]
    first, second = (conversation({"messages": [USER | {"content": t}]}) for t in (text, changed))
    assert (first == second) == (at == 50_000)
    assert first != conversation({"messages": [USER | {"content": text + "!"}]})


def test_names_are_spread_evenly() -> None:
    """Conversations that differ by a number have names that differ: no two of ten thousand are alike."""
    names = {conversation({"messages": [USER | {"content": f"Question {i}"}]}) for i in range(10_000)}
    assert len(names) == 10_000


def test_work_beyond_the_budget_names_nothing() -> None:
    """What would cost too much is not read on."""
    body = {"tools": [[]] * 1000, "messages": [USER]}
    assert conversation(body, 10_000) is not None
    assert conversation(body, 1000) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"messages":' + b"[" * (16 * MEBIBYTE), id="nesting"),
        pytest.param(b'{"messages":[{' + b'"role":"x",' * 1_500_000, id="roles"),
        pytest.param(b'{"messages":[' + b'{"role":"x","content":[]},' * 600_000, id="messages"),
        pytest.param(b'{"messages":[{"content":"' + b'\\"' * (8 * MEBIBYTE), id="escaped quotes"),
    ],
)
def test_no_body_blocks_a_worker(body: bytes) -> None:
    """A body of 16 MiB made to be slow ends with the budget."""
    assert opening(body) == (None, None)


@settings(max_examples=120, deadline=None)
@given(
    st.binary(max_size=300) | st.text('{}[]",:\\rolecontuser mags', max_size=80).map(str.encode),
    st.integers(0, 400),
)
def test_never_raises(body: bytes, budget: int) -> None:
    """Any bytes, with any budget, give a name or none."""
    assert isinstance(plain(_conversation(body, budget)), str | None)


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=20),
    st.text(max_size=20),
    st.sampled_from([None, 2, "\t"]),
    st.lists(st.sampled_from(LATER), max_size=3),
)
def test_agrees_with_a_json_parser(system: str, user: str, indent: Any, later: list[Any]) -> None:
    """In any formatting, what is found are the very values that a parser would read."""
    messages = [{"content": system, "role": "system"}, {"name": "u", "role": "user", "content": user}, *later]
    found = opening(json.dumps({"n": 1, "messages": messages}, indent=indent).encode())
    assert [json.loads(text or b"null") for text in found] == [system, user]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]",:\\modelu06 ', max_size=60).map(lambda t: t.encode()))
def test_scan_tells_what_is_left_of_the_budget(body: bytes) -> None:
    """Whatever it can read, it says what that took: the same budget bounds both passes together."""
    problem, *_, work = _scan(body + b'{"model":"a"}', BUDGET)
    if problem is None:
        assert 0 < work <= 20 * (len(body) + 13)
