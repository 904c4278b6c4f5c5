"""Telling which policy a request belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lua_kit import NOW_US, REQUEST_ID, Worker
from pointsman.contract import DECISION, FAIL_OPEN, Header, Key, Reason
from pointsman.plan.types import StickyPlan
from pointsman.xds.translate.context import dispatch_context
from pointsman.xds.translate.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lua_kit import Outcome

OPTIONS = Options(scan_budget=10_000)
SALT, OTHER = StickyPlan(salt="0a1b2c3d"), StickyPlan(salt="ffffffff")
NAMED = StickyPlan(salt="0a1b2c3d", header="x-session-id")
SOLE = dispatch_context({"auto": "team/p", "größer-😀": "team/p"}, OPTIONS, {"team/p": SALT})
SHARED = dispatch_context({"a": "team/p", "b": "other/q"}, OPTIONS, {"team/p": SALT, "other/q": OTHER})
WORKER = Worker("dispatch")


def dispatch(
    body: bytes | None, context: dict[str, Any] | None = SOLE, *, headers: Mapping[str, str] | None = None
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


CHAT = b'{"model":"auto","messages":[{"role":"user","content":"Why?"}]}'


def key_of(body: bytes | None, sticky: StickyPlan = SALT, headers: Mapping[str, str] | None = None) -> str:
    """Return what the arm of a request is hashed on."""
    context = dispatch_context({"auto": "team/p"}, OPTIONS, {"team/p": sticky})
    return dispatch(body, context, headers=headers).headers[Header.KEY]


def test_the_arm_is_hashed_on_the_conversation() -> None:
    """Neither a later turn nor the client's session or its copy of our header changes the key."""
    later = CHAT.replace(b"}]", b'},{"role":"assistant","content":"So."},{"role":"user","content":"Oh"}]')
    forged: dict[str, str] = {Header.SESSION: "s-1", Header.KEY: "forged"}
    assert key_of(CHAT) == key_of(later) == key_of(CHAT, headers=forged)
    assert key_of(CHAT) != key_of(CHAT.replace(b"Why?", b"How?"))


def test_the_arm_is_hashed_on_a_header_where_the_policy_says_so() -> None:
    """The header's value is the key, whatever the conversation; without a value the conversation is."""
    named: dict[str, str] = {Header.SESSION: "s-1"}
    assert key_of(CHAT, NAMED, named) == "0a1b2c3d/s/s-1"
    assert key_of(None, NAMED, named) == "0a1b2c3d/s/s-1"
    assert key_of(CHAT, NAMED) == key_of(CHAT, NAMED, {Header.SESSION: ""}) == key_of(CHAT)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="no body"),
        pytest.param(b"What is a pointsman?", id="not JSON"),
        pytest.param(b'{"model":"auto"}', id="no conversation"),
        pytest.param(b'{"model":"auto","messages":[{"role":"system","content":"S"}]}', id="no user turn"),
    ],
)
def test_without_a_conversation_the_arm_is_hashed_on_the_request(body: bytes | None) -> None:
    """What cannot be told apart is spread evenly; a forged key is overwritten here too."""
    assert key_of(body, headers={Header.KEY: "forged"}) == f"0a1b2c3d/r/{REQUEST_ID}"


def test_each_rollout_hashes_on_its_own_salt() -> None:
    """The same conversation has another key in another rollout, and in another policy's."""
    keys = {key_of(CHAT), key_of(CHAT, OTHER), key_of(CHAT, StickyPlan())}
    assert len(keys) == 3
    assert len({key.rpartition("/")[2] for key in keys}) == 1


def test_without_arms_to_tell_apart_there_is_no_key() -> None:
    """A policy with one arm is asked for nothing, also beside one with two."""
    alone = dispatch_context({"auto": "team/p"}, OPTIONS, {})
    beside = dispatch_context({"auto": "team/p", "b": "team/q"}, OPTIONS, {"team/q": SALT})
    for context in (alone, beside):
        assert Header.KEY not in dispatch(CHAT, context).headers


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
