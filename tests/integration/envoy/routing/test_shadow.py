"""The listener of the evaluator's replays: each tier by name, and no trace among the clients' requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from envoy_kit.servers import status_answer
from envoy_rig import HALF, QUESTION, SOLE, Rig
from pointsman.contract import ENTRY_STAT_PREFIX, SHADOW_ID_PREFIX, SHADOW_STAT_PREFIX, Header
from wait import until_sync

if TYPE_CHECKING:
    from envoy_kit.servers import Server


def replay(rig: Rig, target: str | None, request_id: str = f"{SHADOW_ID_PREFIX}1") -> httpx.Response:
    """Send one request to the shadow listener."""
    headers = {"x-request-id": request_id, "authorization": "Bearer evaluator"}
    if target is not None:
        headers[Header.SHADOW] = target
    return rig.client.post(f"http://{rig.shadow}/v1/chat/completions", json=QUESTION, headers=headers)


def counted(rig: Rig, prefix: str) -> int:
    """Return the requests of a listener."""
    return rig.stat(rf"^http\.{prefix}\.downstream_rq_total$")


@pytest.mark.parametrize(
    ("target", "model", "path"),
    [
        ("team/sole/sole-1/cheap", "small-1", "/v1/chat/completions"),
        ("team/sole/sole-1/strong", "large-1", "/api/v1/chat/completions"),
        ("team/half/candidate/cheap", "small-1", "/v1/chat/completions"),
    ],
)
def test_a_replay_reaches_the_tier_that_it_names(short: Rig, target: str, model: str, path: str) -> None:
    """With the tier's own model, path and key; the client's body is else untouched, and the id is kept."""
    response = replay(short, target)
    tier = target.rpartition("/")[2]
    asked: Server = short.cheap if tier == "cheap" else short.strong
    (received,) = asked.received
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert (response.status_code, response.headers[Header.SERVED_TIER]) == (200, tier)
    assert json.loads(received.body) == QUESTION | {"model": model}
    assert received.path == path
    assert headers["authorization"] == f"Bearer key-{tier}"
    assert headers["x-request-id"] == f"{SHADOW_ID_PREFIX}1"
    assert not [name for name in headers if name.startswith(("x-pointsman-", "x-envoy-", "x-forwarded-"))]


@pytest.mark.parametrize(
    "target", [None, "", "team/sole/sole-1", "team/sole/sole-1/none", "*", "team/sole/sole-2/cheap"]
)
def test_what_no_arm_has_is_a_404(short: Rig, target: str | None) -> None:
    """Nothing is guessed: the request reaches no tier."""
    assert replay(short, target).status_code == 404
    assert not short.cheap.received + short.strong.received


def test_a_failed_replay_fails(short: Rig) -> None:
    """The tier's own answer is what counts: no other tier stands in."""
    short.cheap.answer = status_answer(500)
    assert replay(short, "team/sole/sole-1/cheap").status_code == 500
    assert not short.strong.received


def test_a_replay_is_no_clients_request(short: Rig) -> None:
    """It is counted apart, asks no classifier, is not captured, and the access log never hears of it."""
    entry, shadow = counted(short, ENTRY_STAT_PREFIX), counted(short, SHADOW_STAT_PREFIX)
    replay(short, "team/sole/sole-1/cheap", f"{SHADOW_ID_PREFIX}2")
    assert counted(short, SHADOW_STAT_PREFIX) == shadow + 1
    assert counted(short, ENTRY_STAT_PREFIX) == entry
    assert not short.triton.received + short.capture.received
    # what came after it is in the log, and it is not
    short.record(short.ask(host=HALF))
    assert short.log.entry(f"{SHADOW_ID_PREFIX}2") is None


def test_the_entry_knows_no_such_header(short: Rig) -> None:
    """A client that names a tier is served like any other, and the tier does not hear of it."""
    response = short.ask(host=SOLE, headers={Header.SHADOW: "team/sole/sole-1/strong"})
    assert response.headers[Header.SERVED_TIER] == "cheap"
    (received,) = short.cheap.received
    assert Header.SHADOW not in {name.lower() for name in received.headers}
    until_sync(lambda: len(short.capture.received) == 2, 5, what="request and answer are captured")
