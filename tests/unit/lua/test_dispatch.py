"""Telling which policy a request belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lua_kit import NOW_US, REQUEST_ID, Worker
from pointsman.contract import DECISION, FAIL_OPEN, Header, Key, Reason
from pointsman.xds.translate.context import dispatch_context
from pointsman.xds.translate.options import Options

if TYPE_CHECKING:
    from lua_kit import Outcome

OPTIONS = Options(scan_budget=10_000)
SOLE = dispatch_context({"auto": "team/p", "größer-😀": "team/p"}, OPTIONS, split=True)
SHARED = dispatch_context({"a": "team/p", "b": "other/q"}, OPTIONS, split=True)
WORKER = Worker("dispatch")


def dispatch(
    body: bytes | None, context: dict[str, Any] | None = SOLE, *, headers: dict[str, str] | None = None
) -> Outcome:
    """Run the script on one request to a host."""
    outcome = WORKER.on_request(body, context, headers=headers)
    assert outcome.problem is None
    return outcome


def error_of(outcome: Outcome) -> dict[str, Any]:
    """Return what an OpenAI client shows of a refusal."""
    assert outcome.answer_headers["content-type"] == "application/json"
    error = json.loads(outcome.answer)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize(("model", "policy"), [("a", "team/p"), ("b", "other/q")])
def test_the_model_names_the_policy(model: str, policy: str) -> None:
    """On a host that policies share, the request's model tells whose it is; then routes are matched anew."""
    outcome = dispatch(json.dumps({"model": model}).encode(), SHARED)
    assert outcome.metadata == {Key.POLICY: policy}
    assert outcome.route_cleared == 1
    assert outcome.status is None


def test_says_where_the_model_is() -> None:
    """The next script learns the quoted value's first and last byte, and when the body was there."""
    body = b'{"messages":[], "model": "auto"}'
    first, last, arrival = dispatch(body).headers[Header.MODEL_AT].split(":")
    assert body[int(first) - 1 : int(last)] == b'"auto"'
    assert int(arrival) == NOW_US


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_model_is_known_however_it_is_written(ascii_only: bool) -> None:  # noqa: FBT001  (a case)
    """A name outside ASCII is the same name escaped and as UTF-8."""
    body = json.dumps({"model": "größer-😀"}, ensure_ascii=ascii_only).encode()
    assert dispatch(body).metadata == {Key.POLICY: "team/p"}


def test_an_unknown_model_is_a_404() -> None:
    """A model that nobody serves here is refused in OpenAI's shape, and counted."""
    outcome = dispatch(b'{"model":"gpt-x"}')
    error = error_of(outcome)
    assert (outcome.status, error["code"], error["param"]) == ("404", "model_not_found", "model")
    assert "gpt-x" in error["message"]
    assert "/v1/models" in error["message"]
    assert outcome.record(DECISION) == {"reason": Reason.UNKNOWN_MODEL}
    assert outcome.counters == {f"pointsman.reason.{Reason.UNKNOWN_MODEL}": 1}
    assert outcome.route_cleared == 0


@pytest.mark.parametrize("model", [b"x" * 100_000, b'\\"}],\\u0000', b"\xff\xfe\xc3", "模".encode() * 100])
def test_the_404_is_json_whatever_the_model(model: bytes) -> None:
    """A name that is long, hostile or no UTF-8 makes the answer neither long nor unreadable."""
    outcome = dispatch(b'{"model":"' + model + b'"}')
    assert error_of(outcome)["code"] == "model_not_found"
    assert len(outcome.answer) < 2000


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/v1/models?limit=2"])
def test_lists_the_hosts_models(path: str) -> None:
    """`GET /v1/models` answers with the models of every policy on the host, sorted, as OpenAI lists them."""
    outcome = dispatch(None, SHARED, headers={":method": "GET", ":path": path})
    listed = json.loads(outcome.answer)
    assert outcome.status == "200"
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert {model["object"] for model in listed["data"]} == {"model"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/models", b'{"model":"auto"}'),
        ("GET", "/v1/models-of-mine", None),
        ("GET", "/v1/files", None),
    ],
)
def test_other_requests_are_not_answered_with_the_list(method: str, path: str, body: bytes | None) -> None:
    """Only a GET of that very path is; the rest go to the policy."""
    outcome = dispatch(body, headers={":method": method, ":path": path})
    assert outcome.status is None
    assert outcome.metadata == {Key.POLICY: "team/p"}


UNREADABLE = [
    pytest.param(None, Reason.BODY_EMPTY, id="no body"),
    pytest.param(b"", Reason.BODY_EMPTY, id="an empty body"),
    pytest.param(b"What is a pointsman?", Reason.BODY_UNREADABLE, id="not JSON"),
    pytest.param(b'{"messages":[]}', Reason.BODY_UNREADABLE, id="no model"),
    pytest.param(b'{"model":7}', Reason.BODY_UNREADABLE, id="a model that is no string"),
    pytest.param(b'{"model":"auto","Model":"auto"}', Reason.BODY_UNREADABLE, id="two models"),
    pytest.param(b'{"model":"auto","MODEL":7}', Reason.BODY_UNREADABLE, id="a model and a number"),
    pytest.param(b'{"model":"auto","a":' + b"[" * 20_000, Reason.BODY_HOSTILE, id="hostile"),
]


@pytest.mark.parametrize(("body", "reason"), UNREADABLE)
def test_a_policy_alone_on_its_host_gets_what_cannot_be_read(body: bytes | None, reason: Reason) -> None:
    """Where there is nothing to guess, no request is lost: it is sent on with the reason."""
    outcome = dispatch(body)
    assert outcome.metadata == {Key.POLICY: "team/p"}
    assert outcome.headers[Header.MODEL_AT] == reason
    assert outcome.route_cleared == 1
    assert reason in FAIL_OPEN


@pytest.mark.parametrize(("body", "_reason"), UNREADABLE)
def test_on_a_shared_host_what_cannot_be_read_is_refused(body: bytes | None, _reason: Reason) -> None:
    """A guess could hand one tenant's request to another: 400, with the remedy."""
    outcome = dispatch(body, SHARED)
    error = error_of(outcome)
    assert (outcome.status, error["code"]) == ("400", Reason.NO_POLICY)
    assert "model" in error["message"]
    assert outcome.record(DECISION) == {"reason": Reason.NO_POLICY}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, REQUEST_ID),
        ({Header.SESSION: "s-1"}, "s-1"),
        ({Header.SESSION: "s-1", Header.KEY: "forged"}, "s-1"),
        ({Header.KEY: "forged"}, REQUEST_ID),
    ],
)
def test_the_arm_is_hashed_on_the_session(headers: dict[str, str], key: str) -> None:
    """The conversation's name is the key, else the request's id; a client's copy of ours is overwritten."""
    assert dispatch(b'{"model":"auto"}', headers=headers).headers[Header.KEY] == key


def test_without_arms_to_tell_apart_there_is_no_key() -> None:
    """Where every policy has one arm, the hash is never asked for."""
    outcome = dispatch(b'{"model":"auto"}', dispatch_context({"auto": "team/p"}, OPTIONS, split=False))
    assert Header.KEY not in outcome.headers


@pytest.mark.parametrize("body", [b'{"model":"auto"}', b"?"])
def test_a_forged_place_of_the_model_is_overwritten(body: bytes) -> None:
    """Whatever a client says about where the model is, the script's word replaces it."""
    outcome = dispatch(body, headers={Header.MODEL_AT: "1:999:1"})
    assert outcome.headers[Header.MODEL_AT] != "1:999:1"


def test_a_host_without_policies_knows_no_model() -> None:
    """Without a table of its own a host serves nothing."""
    assert dispatch(b'{"model":"auto"}', None).status == "404"


@pytest.mark.parametrize(("sole", "status"), [("team/p", None), (None, "400")])
def test_a_script_that_fails_is_no_outage(sole: str | None, status: str | None) -> None:
    """With a table that the script stumbles over, a policy alone on its host gets the request and why."""
    broken = {"id": f"broken-{sole}", "models": {}} | ({"sole": sole} if sole else {})
    outcome = dispatch(b'{"model":"auto"}', broken)
    assert "pointsman.dispatch" in outcome.logs[0]
    assert outcome.status == status
    if sole:
        assert outcome.metadata == {Key.POLICY: sole}
        assert outcome.headers[Header.MODEL_AT] == Reason.SCRIPT_ERROR
