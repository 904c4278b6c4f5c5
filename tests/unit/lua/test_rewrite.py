"""Putting the tier's model in place of the client's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lua_kit import Worker
from pointsman.contract import DECISION, Header, Reason
from pointsman.xds.translate.resources import json_string

if TYPE_CHECKING:
    from lua_kit import Outcome

WORKER = Worker("rewrite")


def rewrite(
    body: bytes | None,
    *,
    model: str = "large-1",
    budget: int = 1_000_000,
    headers: dict[str, str] | None = None,
) -> Outcome:
    """Run the script as the tier whose model is `model` does."""
    context = {"model": json_string(model), "budget": budget}
    outcome = WORKER.on_request(body, context, headers=headers)
    assert (outcome.problem, outcome.logs) == (None, [])
    return outcome


@pytest.mark.parametrize(
    "model", ["m", "large-1", "a-name-that-is-longer-than-the-client's", "größer-模型-😀"]
)
def test_only_the_models_value_changes(model: str) -> None:
    """Shorter, longer or in any script: the tier's name is put in, and no other byte moves."""
    before, after = b'{ "seed" : 1.0,\t"model": ', b' , "tools": [{"model":"auto"}],"stop":"\\u00e9"}\n'
    outcome = rewrite(before + b'"auto"' + after, model=model)
    assert outcome.body is not None
    assert outcome.body.startswith(before)
    assert outcome.body.endswith(after)
    assert json.loads(outcome.body)["model"] == model


def test_the_length_is_told_anew() -> None:
    """A body of another length says so, or the upstream would wait or cut."""
    outcome = rewrite(b'{"model":"auto"}', model="longer-than-auto")
    assert outcome.body is not None
    assert outcome.headers["content-length"] == str(len(outcome.body))


JSON = (
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.dictionaries(st.text(max_size=5), st.text(), max_size=2)
)
MODELS = st.text(
    st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40
)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.text(max_size=6).filter(lambda key: key.lower() != "model"), JSON, max_size=4),
    MODELS,
    st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]),
)
def test_a_json_parser_sees_another_model_and_nothing_else(
    others: dict[str, Any], model: str, style: dict[str, Any]
) -> None:
    """Whatever stands in the body: its meaning changes by the model alone, its bytes by that value alone."""
    text = json.dumps(others | {"model": "auto"}, **style).encode()
    outcome = rewrite(text, model=model)
    assert outcome.body is not None
    head, _, tail = text.rpartition(b'"auto"')
    assert outcome.body == head + json_string(model).encode() + tail
    assert json.loads(outcome.body) == others | {"model": model}


@settings(max_examples=80, deadline=None)
@given(st.text('{}[]",:\\modelu06 7', max_size=60).map(str.encode))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    """Bytes that are no JSON pass or are refused: the script itself does not fail."""
    rewrite(body)


@pytest.mark.parametrize(
    "body",
    [b'{"messages":[]}', b'{"model":7}', b"What is a pointsman?", b'["model","auto"]', b'"model"', b'{"a":'],
)
def test_a_body_without_a_model_passes_unchanged(body: bytes) -> None:
    """Where no model is named, the upstream sees what the client sent."""
    assert rewrite(body).body == body


def test_a_request_without_a_body_passes() -> None:
    """A GET has nothing to rewrite."""
    outcome = rewrite(None)
    assert (outcome.status, outcome.calls) == (None, [])


def test_every_member_that_names_a_model_becomes_the_tiers() -> None:
    """Parsers differ on which of two members counts, on case and on escapes: none may be the client's."""
    outcome = rewrite(rb'{"model":"a","MODEL":"b","\u006dodel":"c"}')
    assert outcome.body == rb'{"model":"large-1","MODEL":"large-1","\u006dodel":"large-1"}'


def test_where_the_dispatch_saw_the_model_is_not_believed() -> None:
    """Offsets in a header that are wrong do no harm: the script looks for itself."""
    outcome = rewrite(b'{"messages":[],"model":"auto"}', headers={Header.MODEL_AT: "3:9:1"})
    assert outcome.body == b'{"messages":[],"model":"large-1"}'


DEEP = b'"a":' + b"[" * 300 + b"]" * 300


def test_a_body_too_deep_to_read_passes_with_our_model() -> None:
    """Beyond the budget a body passes if its model was found and nothing behind could name another."""
    outcome = rewrite(b'{"model":"early",' + DEEP + b"}", budget=200)
    assert outcome.body == b'{"model":"large-1",' + DEEP + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"early",' + DEEP + b',"model":"late"}',
        b"{" + DEEP + b',"Model":"late"} {}',
        b"{" + DEEP + b',"m\\u006Fdel":"late"}',
        b'{"model":' + b" " * 300 + b'"late"}',
        b'{"model":7,' + DEEP + b"}",
    ],
)
def test_a_body_too_deep_to_read_that_could_name_a_model_is_refused(body: bytes) -> None:
    """Where nobody looked there may be a model of the client's: that body meets no tier's key."""
    assert rewrite(body, budget=200).status == "400"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"\x1f\x8b..", {"content-encoding": "gzip"}, id="compressed"),
        pytest.param(b'{"model":"a"}', {"content-type": "multipart/form-data; boundary=x"}, id="form"),
        pytest.param('{"model":"a"}'.encode("utf-16-le"), {}, id="UTF-16 little-endian"),
        pytest.param('{"model":"a"}'.encode("utf-16"), {}, id="UTF-16 with a mark"),
        pytest.param('{"model":"a"}'.encode("utf-32-be"), {}, id="UTF-32"),
    ],
)
def test_what_others_could_read_and_we_could_not_is_refused(body: bytes, headers: dict[str, str]) -> None:
    """An encoding that would hide the client's model from us never reaches a tier's key."""
    outcome = rewrite(body, headers=headers)
    assert outcome.status == "400"
    assert outcome.answer_headers["content-type"] == "application/json"
    assert json.loads(outcome.answer)["error"]["code"] == Reason.BODY_UNREADABLE
    assert outcome.record(DECISION) == {"reason": Reason.BODY_UNREADABLE}


def test_an_identity_encoding_is_none() -> None:
    """`Content-Encoding: identity` says that the bytes are the text."""
    outcome = rewrite(b'{"model":"auto"}', headers={"content-encoding": "Identity"})
    assert outcome.body == b'{"model":"large-1"}'


def test_a_script_that_fails_lets_nothing_through() -> None:
    """Without the tier's model at hand the request ends here: a 500 in OpenAI's shape, and a line logged."""
    outcome = WORKER.on_request(b'{"model":"auto"}', None)
    assert outcome.status == "500"
    assert json.loads(outcome.answer)["error"]["code"] == "script_error"
    assert "pointsman.rewrite" in outcome.logs[0]
