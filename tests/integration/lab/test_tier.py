"""A replay tier over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.replay import Answer, Latency
from pointsman.lab.tier import Settings, Tier

RECORDS = {"what?": Answer(" The answer is (B), because of all that is said here.\n", 12, 14, recorded=True)}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a tier that plays the model `m` and insists on a key."""
    tier = Tier(Settings("m", Latency(0, 0), "sesame"), RECORDS, CollectorRegistry())
    runner = web.AppRunner(tier.app())
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOCALHOST, port).start()
    key = {"authorization": "Bearer sesame"}
    async with httpx.AsyncClient(base_url=f"http://{LOCALHOST}:{port}", headers=key) as opened:
        yield opened
    await runner.cleanup()


def _ask(text: str = "what?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def test_it_gives_the_recorded_answer_with_its_usage(client: httpx.AsyncClient) -> None:
    """Text and tokens are the record's, and the latency is said to be synthetic."""
    answer = await client.post("/v1/chat/completions", json=_ask())
    assert answer.headers["x-replay-latency"] == "synthetic"
    assert answer.headers["x-replay-answer"] == "recorded"
    assert answer.json()["choices"][0]["message"]["content"] == RECORDS["what?"].text
    assert answer.json()["usage"] == {"prompt_tokens": 12, "completion_tokens": 14, "total_tokens": 26}


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_gives_the_same_text_and_its_usage_only_if_asked(
    client: httpx.AsyncClient, *, usage: bool
) -> None:
    """Events of OpenAI's shape, ended by [DONE]."""
    answer = await client.post(
        "/v1/chat/completions", json=_ask(stream=True, stream_options={"include_usage": usage})
    )
    assert answer.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    text = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
    assert text == RECORDS["what?"].text
    assert [e["usage"] for e in events if e.get("usage")] == ([RECORDS["what?"].usage()] if usage else [])


async def test_an_unknown_prompt_gets_a_marked_echo(client: httpx.AsyncClient) -> None:
    """And it is counted."""
    answer = await client.post("/v1/chat/completions", json=_ask("never recorded"))
    assert answer.headers["x-replay-answer"] == "echo"
    assert "never recorded" in answer.json()["choices"][0]["message"]["content"]
    assert 'pointsman_tier_unknown_prompts_total{model="m"} 1.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (_ask() | {"model": "other"}, {}, 404, "model_not_found"),
        (_ask(), {"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"model": "m"}, {}, 400, None),
    ],
)
async def test_errors_have_openais_shape(
    client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], status: int, code: str | None
) -> None:
    """Unknown model, wrong key, no messages."""
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


async def test_faults_come_and_go(client: httpx.AsyncClient) -> None:
    """A status, an empty answer, and none after DELETE."""
    await client.put("/faults", json={"status": 503})
    assert (await client.post("/v1/chat/completions", json=_ask())).status_code == 503
    await client.put("/faults", json={"empty": True})
    emptied = (await client.post("/v1/chat/completions", json=_ask())).json()
    assert emptied["choices"][0]["message"]["content"] == ""
    assert emptied["usage"]["completion_tokens"] == 0
    assert (await client.get("/faults")).json()["empty"] is True
    await client.delete("/faults")
    assert (await client.post("/v1/chat/completions", json=_ask())).json()["usage"]["completion_tokens"] == 14


async def test_bad_faults_change_nothing(client: httpx.AsyncClient) -> None:
    """They are refused with the field's name."""
    answer = await client.put("/faults", json={"status": 42})
    assert answer.status_code == 400
    assert "status" in answer.json()["error"]["message"]
    assert (await client.get("/faults")).json() == {}


async def test_completions_and_models_answer_too(client: httpx.AsyncClient) -> None:
    """The older API, and the list."""
    answer = await client.post("/v1/completions", json={"model": "m", "prompt": "what?"})
    assert answer.json()["choices"][0]["text"] == RECORDS["what?"].text
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["m"]


async def test_garbage_is_a_200_that_nobody_can_read(client: httpx.AsyncClient) -> None:
    """Neither JSON nor an event stream."""
    await client.put("/faults", json={"garbage": True})
    answer = await client.post("/v1/chat/completions", json=_ask())
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r".*"):
        answer.json()


async def test_the_ledger_names_what_was_answered(client: httpx.AsyncClient) -> None:
    """Every answer with its request's id and status; the evaluator's replays are marked."""
    await client.post("/v1/chat/completions", json=_ask(), headers={"x-request-id": "one"})
    await client.post("/v1/chat/completions", json=_ask(), headers={"x-request-id": "shadow-two"})
    await client.put("/faults", json={"status": 503})
    await client.post("/v1/chat/completions", json=_ask(), headers={"x-request-id": "three"})
    ledger = (await client.get("/ledger")).json()
    assert ledger["entries"] == [
        {"id": "one", "status": 200, "shadow": False},
        {"id": "shadow-two", "status": 200, "shadow": True},
        {"id": "three", "status": 503, "shadow": False},
    ]
    assert (await client.get("/ledger?after=2")).json()["entries"] == ledger["entries"][2:]
    assert (await client.get("/ledger?after=two")).status_code == 400
    assert (await client.get("/ledger?count")).json() == {
        "count": 3,
        "shadow": 1,
        "byStatus": {"200": 2, "503": 1},
    }
    await client.delete("/ledger")
    assert (await client.get("/ledger")).json()["count"] == 0
