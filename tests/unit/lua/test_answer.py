"""Reading an answer as it passes: tokens, model and shape, for the access log and the sample."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plans
from lua_kit import REQUEST_ID, Worker, functions, runtime
from pointsman.contract import ANSWER, CLUSTER_CAPTURE, DECISION, Header, Key, Reason
from pointsman.plan.types import CapturePlan
from pointsman.xds.translate.context import decide_context
from pointsman.xds.translate.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lua_kit import Outcome

WORKER = Worker("decide")
SAID = {"revision": "r1", "tier": "cheap", "reason": "score", "score": 0.9, "intent": "chat"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
USAGE = {
    "prompt_tokens": 1234,
    "completion_tokens": 567,
    "total_tokens": 1801,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 64, "accepted_prediction_tokens": 0},
}


def observe(
    chunks: Sequence[bytes],
    *,
    headers: dict[str, str] | None = None,
    said: dict[str, Any] | None = None,
    worker: Worker = WORKER,
    clusters: Sequence[str] = (),
) -> Outcome:
    """Run the script on the way back of a request that was decided as `said` tells."""
    record = json.dumps(said or SAID, separators=(",", ":"))
    metadata = {Key.POLICY: "team/p", Key.ROUTE: "x", DECISION: record}
    outcome = worker.on_response(chunks, metadata, headers=headers, clusters=clusters)
    assert (outcome.problem, outcome.logs) == (None, [])
    return outcome


def read(chunks: Sequence[bytes], **how: Any) -> dict[str, Any]:
    """Return the record of an answer."""
    return dict(observe(chunks, **how).record(ANSWER))


def completion(message: dict[str, Any], **more: Any) -> bytes:
    """Return a chat completion in one piece."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": "stop"}
    whole = {
        "id": "c-1",
        "object": "chat.completion",
        "model": "small-2026",
        "choices": [choice],
        "usage": USAGE,
    }
    return json.dumps(whole | more).encode()


def events(*deltas: dict[str, Any], usage: dict[str, Any] | None = None) -> bytes:
    """Return a chat completion as an event stream."""
    head: dict[str, Any] = {"id": "c-1", "object": "chat.completion.chunk", "model": "small-2026"}
    lines: list[dict[str, Any]] = [
        head | {"choices": [{"index": 0, "delta": delta}], "usage": None} for delta in deltas
    ]
    if usage:
        lines.append(head | {"choices": [], "usage": usage})
    text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines)
    return text.encode() + b"data: [DONE]\n\n"


TEXT = completion({"content": "It throws switches.", "refusal": None})
STREAM = events({"role": "assistant", "content": ""}, {"content": "It"}, {"content": " throws"}, usage=USAGE)


def test_reads_a_json_answer() -> None:
    """Tokens and model are the upstream's own words; text means not empty."""
    said = read([TEXT])
    assert (said[Key.PROMPT_TOKENS], said[Key.COMPLETION_TOKENS]) == (1234, 567)
    assert said[Key.ANSWER_MODEL] == "small-2026"
    assert not {Key.EMPTY, Key.REFUSAL, Key.STREAM} & set(said)


def test_reads_an_event_stream() -> None:
    """Usage at the end of a stream counts as it does in a JSON answer, and the stream is marked."""
    said = read([STREAM], headers=EVENTS)
    assert (said[Key.PROMPT_TOKENS], said[Key.COMPLETION_TOKENS]) == (1234, 567)
    assert (said[Key.ANSWER_MODEL], said[Key.STREAM]) == ("small-2026", 1)
    assert Key.EMPTY not in said


@pytest.mark.parametrize(("answer", "headers"), [(TEXT, {}), (STREAM, EVENTS)], ids=["JSON", "events"])
def test_reads_the_same_wherever_an_answer_is_split(answer: bytes, headers: dict[str, str]) -> None:
    """At each byte a chunk may end, in the middle of a number too."""
    whole = read([answer], headers=headers)
    for at in range(len(answer)):
        assert read([answer[:at], answer[at:]], headers=headers) == whole, answer[:at][-40:]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([TEXT, STREAM]), st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_reads_the_same_in_any_chunks(answer: bytes, cuts: list[int]) -> None:
    """Any number of chunks, empty ones among them, gives what one does."""
    ends = [0, *sorted(cuts), len(answer)]
    chunks = [answer[start:end] for start, end in pairwise(ends)]
    assert read(chunks) == read([answer])


def test_reads_the_same_byte_by_byte() -> None:
    """An upstream that flushes each byte is understood."""
    assert read([bytes([byte]) for byte in STREAM]) == read([STREAM])


def test_running_usage_is_read_last() -> None:
    """Some servers repeat usage in each event: the last one counts."""
    running = [
        events({"content": "x"}, usage={"prompt_tokens": 9, "completion_tokens": n}) for n in (1, 2, 3)
    ]
    said = read(running, headers=EVENTS)
    assert (said[Key.PROMPT_TOKENS], said[Key.COMPLETION_TOKENS]) == (9, 3)


def test_other_dialects_of_usage() -> None:
    """The Responses API and others say `input_tokens` and `output_tokens`."""
    body = b'{"object":"response","model":"m","output":[],"usage":{"input_tokens":7,"output_tokens":8}}'
    said = read([body])
    assert (said[Key.PROMPT_TOKENS], said[Key.COMPLETION_TOKENS]) == (7, 8)
    assert Key.EMPTY not in said


@pytest.mark.parametrize(
    "content",
    ['"usage":{"prompt_tokens":1,"completion_tokens":1}', '"model":"forged"', '"refusal":"forged"'],
)
def test_what_a_model_writes_is_not_what_it_says(content: str) -> None:
    """Keys inside an answer's text are text: quotes in it are escaped."""
    body = json.dumps({"choices": [{"message": {"content": content}}], "model": "m", "usage": USAGE}).encode()
    said = read([body])
    assert (said[Key.PROMPT_TOKENS], said[Key.COMPLETION_TOKENS]) == (1234, 567)
    assert said[Key.ANSWER_MODEL] == "m"
    assert Key.REFUSAL not in said


def test_a_count_that_is_none_is_left_out() -> None:
    """Digits without end are no number of tokens, and the record stays readable."""
    body = b'{"choices":[],"usage":{"prompt_tokens":' + b"9" * 400 + b',"completion_tokens":5}}'
    said = read([body])
    assert Key.PROMPT_TOKENS not in said
    assert said[Key.COMPLETION_TOKENS] == 5


def test_a_long_answer_in_one_piece_is_read() -> None:
    """A buffer larger than any chunk hides neither model nor usage."""
    said = read([completion({"content": "x" * 300_000})])
    assert (said[Key.ANSWER_MODEL], said[Key.COMPLETION_TOKENS]) == ("small-2026", 567)


@pytest.mark.parametrize("model", ["org/größe-模", "\ud7ff", "m\\u0007"])
def test_a_models_name_in_any_script_is_recorded(model: str) -> None:
    """A name outside ASCII comes back as it was."""
    body = json.dumps({"model": model, "choices": [{"message": {"content": "x"}}]}, ensure_ascii=False)
    assert read([body.encode()]).get(Key.ANSWER_MODEL) in {model, None}


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xf0\x9f\x98\x80", b"\x01"]
)
def test_stray_bytes_in_a_models_name_leave_the_record_readable(raw: bytes) -> None:
    """Whatever an upstream sends, the record is ASCII JSON whose text can be stored."""
    outcome = observe([b'{"model":"m' + raw + b'","choices":[],"usage":{"prompt_tokens":3}}'])
    assert outcome.metadata[ANSWER].isascii()
    said = outcome.record(ANSWER)
    assert said[Key.PROMPT_TOKENS] == 3
    assert said[Key.ANSWER_MODEL].startswith("m")


READ_MANY = """function(chunk, times)
  local seen = { bytes = 0 }
  for _ = 1, times do read_chunk(seen, chunk) end
  return seen
end"""
NO_TEXT: dict[str, Any] = {"content": None}
CALL = {"type": "function", "id": "1", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("answer", "empty"),
    [
        pytest.param(TEXT, 0, id="text"),
        pytest.param(completion({"content": '"'}), 0, id="a quote"),
        pytest.param(completion({"content": ""}), 1, id="empty text"),
        pytest.param(completion(NO_TEXT), 1, id="null"),
        pytest.param(completion(NO_TEXT | {"tool_calls": []}), 1, id="no tool calls"),
        pytest.param(completion(NO_TEXT | {"tool_calls": [CALL]}), 0, id="a tool call"),
        pytest.param(completion(NO_TEXT | {"function_call": {"name": "f"}}), 0, id="a function call"),
        pytest.param(completion({"content": [{"type": "text", "text": "x"}]}), 0, id="parts"),
        pytest.param(completion(NO_TEXT | {"refusal": "No."}), 0, id="a refusal"),
        pytest.param(b'{"choices":[{"text":"x"}]}', 0, id="a plain completion"),
        pytest.param(b'{"choices":[{"text":""}]}', 1, id="an empty plain completion"),
        pytest.param(STREAM, 0, id="a stream"),
        pytest.param(events({"role": "assistant", "content": ""}, usage=USAGE), 1, id="a stream of nothing"),
        pytest.param(events({"tool_calls": [CALL]}), 0, id="a stream of a tool call"),
        pytest.param(b"", 1, id="no bytes"),
        pytest.param(b'{"object":"list","data":[{"embedding":[0.1]}]}', 0, id="an embedding"),
    ],
)
def test_tells_an_empty_answer(answer: bytes, empty: int) -> None:
    """A good answer without text or tool call is empty; what holds neither by nature is not."""
    assert read([answer] if answer else []).get(Key.EMPTY, 0) == empty


def test_only_a_good_answer_can_be_empty() -> None:
    """An error's missing text is counted by its status already."""
    assert Key.EMPTY not in read([], headers={":status": "503"})


@pytest.mark.parametrize(("refusal", "flag"), [("I cannot.", 1), ("", 0), (None, 0)])
def test_tells_a_refusal(refusal: str | None, flag: int) -> None:
    """A refusal is one that says something."""
    assert read([completion({"content": "x", "refusal": refusal})]).get(Key.REFUSAL, 0) == flag


def test_what_is_kept_between_chunks_is_bounded() -> None:
    """A stream of any length costs the worker the same few hundred bytes."""
    lua = runtime()
    (run,) = functions("decide", READ_MANY, lua=lua)
    kept = run(b"data: " + b"x" * 20_000 + b"\n\n", 50)
    assert 0 < sum(len(each) for each in kept.values() if isinstance(each, bytes)) < 2_000


def test_says_to_the_client_who_served_and_why() -> None:
    """Revision, reason and serving tier are in the answer's headers."""
    outcome = observe([TEXT], headers={Header.SERVED_TIER: "strong"})
    assert outcome.headers[Header.REVISION] == "r1"
    assert outcome.headers[Header.REASON] == Reason.SCORE
    assert outcome.headers[Header.SERVED_TIER] == "strong"
    assert outcome.record(ANSWER)[Key.SERVED_TIER] == "strong"


def test_a_refused_request_says_why() -> None:
    """Our own 404 has a reason, and no revision or record of an answer."""
    outcome = observe([b"{}"], said={"reason": "unknown_model"})
    assert outcome.headers[Header.REASON] == Reason.UNKNOWN_MODEL
    assert Header.REVISION not in outcome.headers
    assert ANSWER not in outcome.metadata


def test_an_answer_to_nothing_of_ours_is_left_alone() -> None:
    """Where no script decided, none has anything to say."""
    outcome = WORKER.on_response([TEXT], {})
    assert (outcome.problem, outcome.logs, outcome.metadata) == (None, [], {})
    assert Header.REASON not in outcome.headers


POLICY = replace(
    plans.policy("p", plans.arm(plans.tier("cheap"), plans.tier("strong"), pinned="cheap"), namespace="team"),
    capture=CapturePlan(1000, 100),
)


def sampling() -> Worker:
    """Return a worker that has seen a sampled request of the policy."""
    worker = Worker("decide")
    context = decide_context(POLICY, POLICY.arms[0], Options())
    worker.on_request(b'{"model":"auto"}', context, clusters={CLUSTER_CAPTURE: ({}, None)})
    return worker


@pytest.mark.parametrize("said", ["strong", "#1", "#2"])
def test_the_attempt_on_the_short_way_names_the_tier(said: str) -> None:
    """Behind a failover the first attempt was the chosen tier's, the second the last tier's."""
    outcome = observe([TEXT], headers={Header.SERVED_TIER: said}, worker=sampling())
    served = "cheap" if said == "#1" else "strong"
    assert outcome.headers[Header.SERVED_TIER] == served
    assert outcome.record(ANSWER)[Key.SERVED_TIER] == served


CAPTURED = SAID | {"captured": 1}


@pytest.mark.parametrize(
    ("chunks", "body", "cut"),
    [
        pytest.param([b"x" * 40, b"y" * 60], b"x" * 40 + b"y" * 60, "0", id="just fits"),
        pytest.param([b"x" * 100, b"y"], b"x" * 100, "1", id="a byte too long"),
        pytest.param([b"x" * 500], b"x" * 100, "1", id="a long chunk"),
        pytest.param([], b"", "0", id="nothing"),
    ],
)
def test_a_sampled_answer_is_sent_to_the_evaluator(chunks: list[bytes], body: bytes, cut: str) -> None:
    """The answer's bytes, up to the policy's most, follow the request's under the same id, without a wait."""
    headers = EVENTS | {Header.SERVED_TIER: "strong"}
    outcome = observe(chunks, headers=headers, said=CAPTURED, worker=sampling(), clusters=[CLUSTER_CAPTURE])
    (call,) = outcome.calls
    assert (call.cluster, call.asynchronous, call.body) == (CLUSTER_CAPTURE, True, body)
    assert call.headers == {
        ":method": "POST",
        ":path": "/v1/capture/response",
        ":authority": CLUSTER_CAPTURE,
        "content-type": EVENTS["content-type"],
        "x-request-id": REQUEST_ID,
        "x-pointsman-policy": "team/p",
        "x-pointsman-revision": "r1",
        "x-pointsman-tier": "strong",
        "x-pointsman-status": "200",
        "x-pointsman-truncated": cut,
    }


def test_an_answer_out_of_the_sample_is_not_sent() -> None:
    """Without the mark of a captured request no text leaves."""
    assert observe([TEXT], worker=sampling(), clusters=[CLUSTER_CAPTURE]).calls == []


def test_a_capture_that_fails_leaves_the_record() -> None:
    """Where the evaluator's cluster is not there, the answer is counted all the same."""
    said = read([TEXT], said=CAPTURED, worker=sampling())
    assert said[Key.COMPLETION_TOKENS] == 567
