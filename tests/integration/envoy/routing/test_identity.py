"""What clients cannot do, and what tiers get to see."""

from __future__ import annotations

import json

import pytest

from envoy_kit.servers import classifier_answer
from envoy_rig import PINNED, QUESTION, SHARED, SOLE, Rig
from pointsman.contract import Header, Reason

FORGED = {
    "x-pointsman-key": "me",
    "x-pointsman-model-at": "1:3:5",
    "x-pointsman-tier": "cheap",
    "x-pointsman-route": "cheap",
    "x-pointsman-served-tier": "cheap",
    "x-pointsman-reason": "pinned",
    "x-pointsman-policy": "team/pinned",
    "x-envoy-upstream-alt-stat-name": "mine",
    "x-envoy-retry-on": "5xx",
    "x-forwarded-host": PINNED,
}


def test_forged_headers_steer_nothing(rig: Rig) -> None:
    """A client's copies of our headers change neither tier nor model nor reason, and stop at the tier."""
    rig.triton.answer = classifier_answer([0.1, 1.0])
    response = rig.ask(headers=FORGED)
    assert response.headers[Header.SERVED_TIER] == "strong"
    assert response.headers[Header.REASON] == Reason.BELOW_THRESHOLD
    (received,) = rig.strong.received
    names = {name.lower() for name in received.headers}
    assert not [name for name in names if name.startswith(("x-pointsman-", "x-envoy-", "x-forwarded-"))]
    assert json.loads(received.body)["model"] == "large-1"


def test_keys_reach_only_their_tier(rig: Rig) -> None:
    """Each tier gets its own key, never the client's, and no cookie."""
    credentials = {"authorization": "Bearer client", "cookie": "session=1", "x-api-key": "client"}
    for server, score, key in ((rig.cheap, 0.9, "key-cheap"), (rig.strong, 0.1, "key-strong")):
        rig.triton.answer = classifier_answer([score, 1.0])
        rig.ask(headers=credentials)
        headers = {name.lower(): value for name, value in server.received[-1].headers.items()}
        assert headers["authorization"] == f"Bearer {key}"
        assert not {"cookie", "x-api-key"} & set(headers)
    for asked in rig.triton.received:
        assert not {"authorization", "cookie"} & {name.lower() for name in asked.headers}


BODIES = [
    b'{"model":"auto","messages":[{"role":"user","content":"hi"}]}',
    b'{\n  "messages": [{"role": "user", "content": "\\"model\\": \\"auto\\""}],\n  "model" : "auto"\n}',
    b'{"tools":[{"function":{"parameters":{"z":1,"model":"auto","a":2}}}],"model":"auto","top_p":0.10}',
    b'{"messages":[{"role":"user","content":"\xe2\x82\xac \xf0\x9f\x9a\x82 \\u20ac"}],"model":"auto"}',
]


@pytest.mark.parametrize("body", BODIES)
def test_only_the_models_value_changes(rig: Rig, body: bytes) -> None:
    """Every other byte reaches the tier as it was sent: order, spacing, escapes, nested `model`s."""
    rig.ask(body, host=PINNED)
    (received,) = rig.cheap.received
    cut = body.rindex(b'"auto"') if body.rindex(b'"model"') > body.index(b"{") + 1 else body.index(b'"auto"')
    assert received.body == body[:cut] + b'"small-1"' + body[cut + len(b'"auto"') :]


def test_the_classifier_gets_the_body_untouched(rig: Rig) -> None:
    """Triton is sent the very bytes of the client."""
    rig.ask(BODIES[1])
    assert [asked.body for asked in rig.triton.received] == [BODIES[1]]
    assert rig.triton.received[0].path == "/v2/models/pm-0/infer"


def test_the_path_is_the_endpoints_own(rig: Rig) -> None:
    """The client's /v1 becomes the endpoint's base path."""
    rig.ask(host=PINNED, path="/v1/chat/completions?x=1")
    assert rig.cheap.received[0].path == "/api/v1/chat/completions?x=1"


def test_answers_are_asked_for_uncompressed(rig: Rig) -> None:
    """Accept-Encoding stops here: usage and captures must be readable."""
    rig.ask(host=PINNED, headers={"accept-encoding": "gzip, br"})
    assert "accept-encoding" not in {name.lower() for name in rig.cheap.received[0].headers}


def test_a_session_is_logged_as_a_digest_only(rig: Rig) -> None:
    """The client's session id groups requests; the record holds its hash."""
    response = rig.ask(host=SHARED, body=QUESTION | {"model": "a"}, headers={"x-session-id": "alice"})
    assert len(rig.record(response).session) == 64


def test_an_unknown_host_is_refused(rig: Rig) -> None:
    """A host of no policy reaches no tier."""
    assert rig.ask(host="nobody.test").status_code == 404
    assert not rig.cheap.received + rig.strong.received
    assert SOLE != "nobody.test"
