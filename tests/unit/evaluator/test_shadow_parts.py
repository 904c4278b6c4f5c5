"""The pure parts of the shadow: what may be replayed, what an answer came to, what an hour may cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator_builders import record
from lua_kit import functions, runtime
from pointsman.evaluator.cases import ScoredRequest
from pointsman.evaluator.shadow.budget import HourlyBudget
from pointsman.evaluator.shadow.pairs import CaseName, incumbent_outcomes, pairs
from pointsman.evaluator.shadow.reply import Reply
from pointsman.evaluator.shadow.request import SkipError, is_sampled, path_of

QUESTION = [{"role": "user", "content": "Why?"}]
LUA = runtime()
_read, _is_empty = functions("decide", "read_chunk", "is_empty", lua=LUA)


def body(**members: Any) -> bytes:
    """Return a chat request with more members."""
    return json.dumps({"model": "auto", "messages": QUESTION} | members).encode()


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"messages": QUESTION}, "/v1/chat/completions"),
        ({"input": "Why?", "store": False}, "/v1/responses"),
        ({"prompt": "Why?"}, "/v1/completions"),
    ],
)
def test_a_body_tells_its_path(document: dict[str, Any], path: str) -> None:
    """The path is not captured; each of the three APIs has a member of its own."""
    assert path_of(json.dumps(document).encode()) == path


@pytest.mark.parametrize(
    "members",
    [
        {"store": False},
        {"store": None},
        {"tools": []},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
        {"tool_choice": "auto", "metadata": {"a": "b"}},
        {"web_search_options": None},
    ],
)
def test_what_changes_nothing_is_replayed(members: dict[str, Any]) -> None:
    """Tools that the client runs, and switches that are off, do no harm twice."""
    assert path_of(body(**members))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "r1"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"web_search_options": {"user_location": {}}}, "web_search_options"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        *(
            ({"tools": [{"type": "function"}, {"type": kind}]}, "hosted tool")
            for kind in (
                "web_search",
                "web_search_preview",
                "code_interpreter",
                "file_search",
                "image_generation",
                "computer_use_preview",
                "mcp",
                "something_new",
            )
        ),
        ({"tools": ["web_search"]}, "hosted tool"),
    ],
)
def test_what_a_server_would_do_twice_is_skipped(members: dict[str, Any], named: str) -> None:
    """Stored answers, hosted tools, whatever a server keeps or runs: one request stays one request."""
    with pytest.raises(SkipError, match=named) as skipped:
        path_of(body(**members))
    assert skipped.value.because == "effects"


def test_the_responses_api_stores_by_default() -> None:
    """There `store` must be false, not only absent."""
    with pytest.raises(SkipError, match="store"):
        path_of(b'{"input":"Why?"}')


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_is_skipped(raw: bytes) -> None:
    """No path, no replay."""
    with pytest.raises(SkipError) as skipped:
        path_of(raw)
    assert skipped.value.because == "body"


def test_each_rollout_has_another_sample() -> None:
    """A sample has the share that is asked for, and the next rollout's is independent of it."""
    ids = [f"request-{number}" for number in range(4000)]
    one = {each for each in ids if is_sampled(each, "a", 250)}
    two = {each for each in ids if is_sampled(each, "b", 250)}
    assert 900 < len(one) < 1100
    assert 190 < len(one & two) < 310
    assert all(is_sampled(each, "a", 1000) for each in ids[:50])
    assert not any(is_sampled(each, "a", 0) for each in ids[:50])


def choice(**message: Any) -> bytes:
    """Return a chat completion."""
    return json.dumps({"choices": [{"message": message}]}).encode()


EVENT = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
ANSWERS = [
    b"",
    choice(content="Hi"),
    choice(content=""),
    choice(content=None),
    choice(content=None, tool_calls=[{"function": {}}]),
    choice(content=None, tool_calls=[]),
    choice(content=None, refusal="No."),
    choice(content=[{"type": "text", "text": "Hi"}]),
    choice(function_call={"name": "f"}),
    EVENT,
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\ndata: [DONE]\n\n',
    b'{"choices":[{"text":"Hi"}]}',
    b'{"choices":[{"text":""}]}',
    b"\x00\x17 this is no answer {",
    b'{"output":[{"content":[{"type":"output_text","text":"Hi"}]}]}',
    b'{"choices" : [ {"message" : {"content" : "\\n"}} ]}',
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_empty_is_what_envoys_script_calls_empty(answer: bytes) -> None:
    """An answer off the path is held to the same as one on it."""
    seen = LUA.table_from({b"bytes": 0})
    if answer:
        _read(seen, answer)
    assert Reply(200, "application/json", answer).empty == bool(_is_empty(seen))


@pytest.mark.parametrize(
    ("status", "answered"),
    [(200, True), (400, True), (401, False), (404, False), (429, False), (500, False), (504, False)],
)
def test_a_status_says_whether_the_tier_answered(status: int, answered: bool) -> None:  # noqa: FBT001 - a table's column
    """What the client did wrong is an answer; what the tier or our settings did wrong is none."""
    assert Reply(status, "application/json", choice(content="Hi")).answered is answered


def test_an_answer_that_breaks_off_is_none() -> None:
    """Half an answer with a 200 before it was not given."""
    assert not Reply(200, "text/event-stream", EVENT, broken=True).answered


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}', (11, 7)),
        (b'{"usage":{"input_tokens":5,"output_tokens": 6}}', (5, 6)),
        (EVENT + b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n', (1, 2)),
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}\n{"usage":null}', (3, 4)),
        (EVENT, (25, len(EVENT) // 4)),
    ],
)
def test_tokens_are_those_reported_last(answer: bytes, tokens: tuple[int, int]) -> None:
    """Both names, JSON and streams; without a report they are estimated from the bytes."""
    assert Reply(200, "", answer).tokens(sent_bytes=100) == tokens


def test_an_error_costs_nothing_unless_it_says_so() -> None:
    """Tiers charge for answers."""
    assert Reply(500, "", b"oops").tokens(1000) == (0, 0)


def test_an_hour_never_holds_more_than_its_budget() -> None:
    """What is under way counts, and what was spent counts for sixty minutes."""
    budget = HourlyBudget(100)
    budget.reserve(60)
    assert not budget.fits(0, 50)
    budget.release(60)
    budget.spend(30, 60)
    assert budget.fits(31, 40)
    assert not budget.fits(3600, 41)
    assert budget.fits(3720, 100)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 60)), max_size=60), st.integers(1, 200))
def test_no_hour_is_overspent(asks: list[tuple[int, int]], limit: int) -> None:
    """Whenever it is asked, no window of 60 minutes holds more than the limit."""
    budget = HourlyBudget(limit)
    spent: list[tuple[int, int]] = []
    for at, nano in sorted(asks):
        if budget.fits(at, nano):
            budget.spend(at, nano)
            spent.append((at, nano))
    for end, _ in spent:
        assert sum(nano for at, nano in spent if end - 3600 < at <= end) <= limit


def test_a_restart_remembers_the_hour() -> None:
    """What was spent before it counts on."""
    assert not HourlyBudget(100, [(1000.0, 70)]).fits(1500, 40)
    assert HourlyBudget(100, [(1000.0, 70)]).fits(6000, 40)


def test_only_what_both_sides_have_is_paired() -> None:
    """A rubric that could score one side alone gives no pair; `answered` comes last."""
    case = CaseName("chat/support", "0a1b2c3d", "shadow", "r1", "s1", "law")
    mine = {("answered", "guard"): True, ("correct", "v1"): True, ("polite", "v1"): False}
    theirs = {("correct", "v1"): False, ("answered", "guard"): True, ("polite", "v2"): True}
    found = [(row.rubric, row.incumbent, row.candidate) for row in pairs(case, mine, theirs)]
    assert found == [("correct", True, False), ("answered", True, True)]


def test_of_the_guards_only_answered_is_paired() -> None:
    """What a client or a late classifier did is no property of an answer."""
    outcomes = {"answered": True, "aborted": False, "retry": True, "correct": False}
    versions = {"answered": "guard", "aborted": "guard", "retry": "guard", "correct": "12345678"}
    scored = ScoredRequest(record(), b"{}", "A", [], 200, "law", outcomes, versions)
    assert incumbent_outcomes(scored) == {("answered", "guard"): True, ("correct", "12345678"): False}
