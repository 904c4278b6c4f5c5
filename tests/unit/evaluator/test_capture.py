"""Captured text over HTTP: who may be kept, and what the sender hears."""

from __future__ import annotations

import json
import sqlite3

import pytest

from evaluator_builders import known_policies, record
from evaluator_rig import Rig
from pointsman.evaluator import capture as capture_module
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.record import session_digest
from wait import until

KEEP = {"samplePermille": 1000, "redact": ["Email"], "maxBytes": 2048}
HEADERS = {
    "x-request-id": "request-1",
    "x-pointsman-policy": "chat/support",
    "x-pointsman-revision": "support-0123456789",
    "x-pointsman-tier": "cheap",
    "x-pointsman-truncated": "0",
    "x-pointsman-status": "200",
    "content-type": "application/json",
}
PROMPT = '{"model":"auto","messages":[{"role":"user","content":"I am jane@mail.example"}]}'
ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hi jane@mail.example"}}]})


def outcome(rig: Rig, half: str, what: str, policy: str = "support") -> float | None:
    labels = {"namespace": "chat" if policy else "", "policy": policy, "half": half, "outcome": what}
    return rig.value("pointsman_captures_total", **labels)


def stored(rig: Rig) -> list[tuple[str, ...]]:
    with sqlite3.connect(rig.path) as db:
        rows = db.execute("SELECT half, form, text, tier, status FROM captures ORDER BY half").fetchall()
    return [tuple(map(str, row)) for row in rows]


async def test_both_halves_are_kept_redacted_under_one_request(rig: Rig) -> None:
    """The prompt stays JSON, the answer becomes its text; the address is nowhere in the store's files."""
    async with rig.http(known_policies(KEEP)) as (client, _):
        for half, body in (("request", PROMPT), ("response", ANSWER)):
            assert (
                await client.post(f"/v1/capture/{half}", headers=HEADERS, content=body)
            ).status_code == 202
        await until(lambda: outcome(rig, "response", "stored") == 1)
        assert stored(rig) == [
            ("request", "json", PROMPT.replace("jane@mail.example", "[email]"), "cheap", "200"),
            ("response", "text", "Hi [email]", "cheap", "200"),
        ]
        assert not rig.files_hold(b"jane")


@pytest.mark.parametrize("known", [True, False])
async def test_text_that_no_policy_asks_for_is_refused(rig: Rig, *, known: bool) -> None:
    """A policy without capture, or none of that name (any more): counted, never stored, no series."""
    policies = known_policies()
    if not known:
        policies.put_policy("chat/support", None)
    async with rig.http(policies) as (client, _):
        await client.post("/v1/capture/request", headers=HEADERS, content=PROMPT)
        await until(lambda: outcome(rig, "request", "refused", "support" if known else "") == 1)
        assert stored(rig) == []


async def test_text_waits_for_the_policies(rig: Rig) -> None:
    """Right after a start nothing is refused for want of a list."""
    policies = Policies()
    async with rig.http(policies) as (client, _):
        await client.post("/v1/capture/request", headers=HEADERS, content=PROMPT)
        policies._policies |= known_policies(KEEP)._policies
        policies.synced.set()
        await until(lambda: outcome(rig, "request", "stored") == 1)


async def test_odd_posts_are_answered_and_not_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request id or policy: 400. More than any policy may ask for: 413. A full queue: 503, counted."""
    async with rig.http(known_policies(KEEP)) as (client, _):
        nameless = {name: text for name, text in HEADERS.items() if name != "x-request-id"}
        assert (await client.post("/v1/capture/request", headers=nameless, content=b"{}")).status_code == 400
        huge = b"x" * (capture_module.BODY_BYTES + 2)
        assert (await client.post("/v1/capture/request", headers=HEADERS, content=huge)).status_code == 413
        monkeypatch.setattr(capture_module, "QUEUE_BYTES", 10)
        assert (await client.post("/v1/capture/request", headers=HEADERS, content=PROMPT)).status_code == 503
        assert outcome(rig, "request", "dropped") == 1


async def test_longer_text_than_the_policy_asks_for_is_cut(rig: Rig) -> None:
    """MaxBytes is held here too, whatever Envoy's configuration was when it sent the text."""
    async with rig.http(known_policies(KEEP)) as (client, _):
        await client.post("/v1/capture/request", headers=HEADERS, content=b"y" * 5000)
        found = await until(lambda: stored(rig))
        assert len(found[0][2]) <= 2048


async def test_without_a_certificate_no_session_is_forgotten(rig: Rig) -> None:
    """DELETE is not on the open port at all, and elsewhere refused to who shows nothing: the text stays."""
    async with rig.http(known_policies(KEEP)) as (client, writer):
        writer.offer(record(1, session=session_digest("user/7")))
        await client.post("/v1/capture/request", headers=HEADERS, content=PROMPT)
        await until(lambda: outcome(rig, "request", "stored") == 1)
        assert (await client.delete("/own/v1/sessions/user%2F7")).status_code == 404
        assert (await client.delete("/v1/sessions/user%2F7")).status_code == 403
        assert len(stored(rig)) == 1


async def test_the_summary_is_exact(rig: Rig) -> None:
    """Shares, costs, guards and nearest-rank quantiles are those of the rows."""
    async with rig.http(known_policies()) as (client, writer):
        for number in range(100):
            late = {"served_tier": "strong"} if number < 10 else {}
            writer.offer(record(number, decision_us=(number + 1) * 1000, **late))
        writer.offer(record(200, policy="", tier="", served_tier="", reason="unknown_model"))
        await until(lambda: writer.backlog_s == 0)
        found = (await client.get("/own/v1/summary", params={"policy": "chat/support"})).json()
        assert (found["requests"], found["accessLog"]["received"]) == (100, 101)
        assert [(t["tier"], t["requests"], t["sharePermille"]) for t in found["tiers"]] == [
            ("cheap", 90, 900),
            ("strong", 10, 100),
        ]
        assert found["cost"]["usd"] == pytest.approx(90 * 27e-6 + 10 * 450e-6)
        assert found["cost"]["baselineUSD"] == pytest.approx(100 * 450e-6)
        assert found["decisionSeconds"] == {"count": 100, "p50": 0.05, "p99": 0.099}
        guards = {(g["rubric"], g["tier"]): (g["pass"], g["fail"]) for g in found["guards"]}
        assert guards["answered", "cheap"] == (90, 10)
        assert guards["answered", "strong"] == (10, 0)
        assert guards["retry", "strong"] == (0, 10)
        window = {"policy": "chat/support", "since": "2100-01-01T00:00:00Z"}
        assert (await client.get("/own/v1/summary", params=window)).json()["requests"] == 0
        assert (await client.get("/own/v1/summary")).status_code == 400


async def test_readiness_names_what_is_missing(rig: Rig) -> None:
    """Without policies it is not ready and says why; healthy it is."""
    policies = Policies()
    async with rig.http(policies) as (client, _):
        answer = await client.get("/own/readyz")
        assert (answer.status_code, "API server" in answer.text) == (503, True)
        policies.synced.set()
        assert (await client.get("/own/readyz")).status_code == 200
        assert (await client.get("/own/healthz")).status_code == 200
