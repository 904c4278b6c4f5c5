"""Finding the top-level `model` of a request's body."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lua_kit import functions, plain

BUDGET = 1_000_000
MEBIBYTE = 1024 * 1024
_scan, _unescape = functions("dispatch", "scan", "unescape")


def scan(body: bytes, budget: int = BUDGET) -> tuple[str | None, list[bytes], int]:
    """Return the problem, the quoted values found, and how many keys named the model."""
    problem, values, seen, *_ = _scan(body, budget)
    at = [values[i] for i in range(1, len(values) + 1)]
    found = [body[first - 1 : last] for first, last in zip(at[::2], at[1::2], strict=True)]
    return plain(problem), found, seen


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"auto","messages":[]}', id="first"),
        pytest.param(b'{"messages":[{"role":"user","content":"hi"}],"model":"auto"}', id="last"),
        pytest.param(b'{"tools":[{"model":"no"}],"a":{"model":"no"},"model":"auto"}', id="nested ones"),
        pytest.param(rb'{"a":"{\"model\":\"no\"}","model":"auto"}', id="in a string"),
        pytest.param(b'{"a":"model","model":"auto"}', id="as another's value"),
        pytest.param(b'{"a":["model","no"],"model":"auto"}', id="in a list"),
        pytest.param(b'\xef\xbb\xbf{"model":"auto"}', id="byte order mark"),
        pytest.param(b' \t\r\n{ "model"\n:\t"auto" } ', id="white space"),
        pytest.param(rb'{"a":"\\","model":"auto"}', id="a string that ends in a backslash"),
        pytest.param(rb'{"\u006dod\u0065l":"auto"}', id="escaped key"),
        pytest.param(b'{"Model":"auto"}', id="key in another case"),
        pytest.param(rb'{"\\u006dodel":"no","model":"auto"}', id="an escaped backslash is no escape"),
        pytest.param(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b',"model":"auto"}', id="deep nesting"),
    ],
)
def test_finds_the_top_level_model(body: bytes) -> None:
    """The one value that counts is the top level's, wherever it stands and whatever surrounds it."""
    assert scan(body) == (None, [b'"auto"'], 1)


@pytest.mark.parametrize(
    ("body", "found", "seen"),
    [
        pytest.param(b'{"model":"a","model":"b"}', [b'"a"', b'"b"'], 2, id="twice"),
        pytest.param(rb'{"model":"a","mod\u0065l":"b"}', [b'"a"', b'"b"'], 2, id="once in disguise"),
        pytest.param(b'{"model":"a","MODEL":7}', [b'"a"'], 2, id="once as a number"),
        pytest.param(b'{"model":7}', [], 1, id="no string"),
        pytest.param(b'{"model":null,"a":"b"}', [], 1, id="null"),
        pytest.param(b'{"model":{"model":"no"}}', [], 1, id="an object"),
        pytest.param(b'{"model":["no"],"a":"b"}', [], 1, id="a list"),
        pytest.param(b"{}", [], 0, id="none"),
    ],
)
def test_says_how_often_the_model_is_named(body: bytes, found: list[bytes], seen: int) -> None:
    """Members that parsers would disagree on are all reported, with or without a string as value."""
    assert scan(body) == (None, found, seen)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"   ", id="blank"),
        pytest.param(b'["model","auto"]', id="a list"),
        pytest.param(b'"model"', id="a string"),
        pytest.param(b"What is a pointsman?", id="a question"),
        pytest.param(b'}{{"model":"auto"}}', id="closed before it is opened"),
        pytest.param(b'{"model":"auto"', id="an object that does not end"),
        pytest.param(b'{"model":"auto', id="a string that does not end"),
        pytest.param(b'{"model":"auto\\"}', id="an end that is escaped"),
    ],
)
def test_what_is_no_object_is_unreadable(body: bytes) -> None:
    """Whatever is not one JSON object has a reason of its own."""
    assert scan(body)[0] == "body_unreadable"


def test_work_beyond_the_budget_is_hostile() -> None:
    """The budget is the scan's own, counted in work rather than in bytes."""
    body = b'{"a":' + b"[" * 500 + b"]" * 500 + b',"model":"auto"}'
    assert scan(body, 1100) == (None, [b'"auto"'], 1)
    assert scan(body, 900) == ("body_hostile", [], 0)


def test_long_texts_cost_no_budget() -> None:
    """A long prompt or an image is skipped, not read: only what is outside strings is work."""
    body = b'{"image":"' + b"A" * (4 * MEBIBYTE) + b'","model":"auto"}'
    assert scan(body, 1000) == (None, [b'"auto"'], 1)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":' + b"[" * (16 * MEBIBYTE), id="nesting"),
        pytest.param(b"{" + b" " * (16 * MEBIBYTE), id="white space"),
        pytest.param(b'{"' + b'\\"' * (8 * MEBIBYTE), id="escaped quotes"),
        pytest.param(b'{"' + b"\\" * (16 * MEBIBYTE - 1) + b'"', id="backslashes"),
        pytest.param(b"{" + rb'"\u006d\u006f\u0064\u0065\u006b":0,' * 400_000, id="keys in disguise"),
        pytest.param(b"{" + b'"model":"",' * 1_500_000, id="the model again and again"),
    ],
)
def test_no_body_blocks_a_worker(body: bytes) -> None:
    """A body of 16 MiB made to be slow ends with the budget (7 to 33 ms of CPU; without one 150 to 900)."""
    assert scan(body)[0] == "body_hostile"


KEYS = st.one_of(
    st.sampled_from(["model", "models", "mode", "messages", "\\u006dodel", 'mod"el', "ü", "😀"]),
    st.text(max_size=8),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])
OTHERS = st.dictionaries(KEYS.filter(lambda key: key.lower() != "model"), JSON, max_size=5)
BYTES = st.binary(max_size=300) | st.text('{}[]",:\\modelu06 ', max_size=60).map(str.encode)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(KEYS.filter(lambda key: key.lower() != "model"), JSON, max_size=5), st.text(), st.data()
)
def test_agrees_with_a_json_parser(others: dict[str, Any], model: str, data: st.DataObject) -> None:
    """In an object in any formatting and order, what is found is the member that a parser would read."""
    members = [*others.items(), ("model", model)]
    random.Random(data.draw(st.integers(0, 9))).shuffle(members)  # noqa: S311  (an order, no secret)
    text = json.dumps(
        dict(members),
        ensure_ascii=data.draw(st.booleans()),
        separators=data.draw(SEPARATORS),
        indent=data.draw(st.sampled_from([None, 2, "\t"])),
    )
    problem, found, seen = scan(text.encode())
    assert (problem, seen) == (None, 1)
    assert json.loads(found[0].decode()) == model


@settings(max_examples=120, deadline=None)
@given(
    st.binary(max_size=300) | st.text('{}[]",:\\modelu06 ', max_size=60).map(str.encode), st.integers(0, 400)
)
def test_never_raises(body: bytes, budget: int) -> None:
    """Any bytes, with any budget, give a result or a reason."""
    problem, found, seen = scan(body, budget)
    assert problem in {None, "body_unreadable", "body_hostile"}
    assert len(found) <= seen


@settings(max_examples=120, deadline=None)
@given(st.text(max_size=30))
def test_unescapes_as_a_json_parser_does(text: str) -> None:
    """A string written in plain ASCII stands for the same text, beyond the basic plane too."""
    quoted = json.dumps(text)
    assert _unescape(quoted[1:-1].encode()) == text.encode()
