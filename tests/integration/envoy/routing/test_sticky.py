"""Which arm serves: by conversation, by header, by rollout; and what each request says of its rollout."""

from __future__ import annotations

import json
from typing import Any

from envoy_rig import ANOTHER, HALF, QUARTER, QUESTION, SPLIT, Rig
from pointsman.contract import DECISION, Header, Key
from wait import until_sync

TURNS = [
    {"role": "assistant", "content": "Somebody at the railway."},
    {"role": "user", "content": "And what does he do?"},
]
CONVERSATIONS = 150


def chat(number: int, turns: int = 0) -> dict[str, Any]:
    """Return a conversation's request after some more turns."""
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Question {number}"}]
    return {"messages": first + TURNS * turns, "model": "auto"}


def candidates(rig: Rig, host: str) -> set[int]:
    """Return the conversations that the candidate serves."""
    asked = {n: rig.ask(chat(n), host=host).headers[Header.REVISION] for n in range(CONVERSATIONS)}
    assert set(asked.values()) == {"candidate", "incumbent"}
    return {n for n, revision in asked.items() if revision == "candidate"}


def test_a_conversation_keeps_its_arm_as_it_grows(short: Rig) -> None:
    """Whatever turns are added, whatever session the client names, the arm is the first request's."""
    for number in range(12):
        arms = {
            short.ask(chat(number, turns), host=HALF, headers={Header.SESSION: f"s{turns}"}).headers[
                Header.REVISION
            ]
            for turns in range(4)
        }
        assert len(arms) == 1


def test_each_arm_gets_its_share_and_a_candidate_keeps_whom_it_has(short: Rig) -> None:
    """At 250 permille a quarter is served by the candidate; at 500 the same ones and as many again."""
    quarter, half = candidates(short, QUARTER), candidates(short, HALF)
    # 37.5 and 75 expected of 150: 4.5 standard deviations either way
    assert 14 <= len(quarter) <= 61
    assert 48 <= len(half) <= 102
    assert quarter < half


def test_two_rollouts_try_their_candidates_on_different_clients(short: Rig) -> None:
    """The slices of two rollouts overlap no more than chance has it: a quarter of a quarter."""
    first, second = candidates(short, QUARTER), candidates(short, ANOTHER)
    assert first != second
    assert len(first & second) <= 24


def test_where_the_policy_names_a_header_a_client_may_change_the_subject(short: Rig) -> None:
    """The header's value keeps the arm over all conversations; without it the conversation does."""
    headers: dict[str, str] = {Header.SESSION: "s"}
    by_header = {short.ask(chat(n), host=SPLIT, headers=headers).headers[Header.REVISION] for n in range(12)}
    without = {n: short.ask(chat(n), host=SPLIT).headers[Header.REVISION] for n in range(30)}
    again = {n: short.ask(chat(n, 1), host=SPLIT).headers[Header.REVISION] for n in range(30)}
    assert len(by_header) == 1
    assert without == again
    assert len(set(without.values())) == 2


def test_what_names_no_conversation_is_spread(short: Rig) -> None:
    """Requests without a turn are told apart by their ids: both arms get some."""
    body = {"model": "auto", "messages": []}
    arms = {short.ask(body, host=HALF).headers[Header.REVISION] for _ in range(30)}
    assert arms == {"candidate", "incumbent"}


def test_every_request_says_of_which_rollout_step_and_arm_it_is(short: Rig) -> None:
    """Envoy's own log names them, and says nothing of the kind where there is no rollout."""
    for number in range(8):
        response = short.ask(chat(number), host=QUARTER)
        arm = "c" if response.headers[Header.REVISION] == "candidate" else "i"
        assert label(short, response.headers["x-request-id"]) == f"0a1b2c3d/250/{arm}"
    assert label(short, short.ask(QUESTION, host=SPLIT).headers["x-request-id"]) is None


def label(rig: Rig, request_id: str) -> str | None:
    """Return what a request's record of the decision says of a rollout."""
    entry = until_sync(lambda: rig.log.entry(request_id), 10, what=f"access log entry of {request_id}")
    found: str | None = json.loads(entry[DECISION]).get(Key.ROLLOUT)
    return found
