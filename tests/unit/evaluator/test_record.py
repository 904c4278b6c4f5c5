"""Reading Envoy's access log entries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType

from evaluator_builders import START_US, entry
from pointsman.evaluator.record import parse, session_digest

FULL: dict[str, Any] = {
    "policy": "chat/support",
    "revision": "support-0123456789",
    "tier": "cheap",
    "served_tier": "strong",
    "reason": "score",
    "score": 0.75,
    "intent": "law",
    "decision_us": 1500,
    "stream": 1,
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "answer_model": "large-1",
    "empty": 1,
    "refusal": 1,
    "captured": 1,
}


DECIDED = {
    key: FULL[key] for key in ("revision", "tier", "reason", "score", "intent", "decision_us", "captured")
}
ANSWERED = {key: value for key, value in FULL.items() if key not in DECIDED and key != "policy"}


@pytest.mark.parametrize(
    "metadata",
    [{"policy": FULL["policy"], "decision": json.dumps(DECIDED), "answer": json.dumps(ANSWERED)}, FULL],
    ids=["records", "single values"],
)
def test_every_field_is_read(metadata: dict[str, Any]) -> None:
    """What the scripts and Envoy wrote arrives under its own name, in records or as single values."""
    found = parse(entry(metadata, ttft_us=90_000, attempts=2, session="s-1"), "envoy-1")
    assert found is not None
    assert (found.node, found.request_id, found.start_us) == ("envoy-1", "request-1", START_US)
    assert (found.duration_us, found.ttft_us, found.end_us) == (200_000, 90_000, START_US + 200_000)
    assert (found.policy, found.revision) == ("chat/support", "support-0123456789")
    assert (found.tier, found.served_tier, found.failed_over) == ("cheap", "strong", True)
    assert (found.reason, found.score, found.intent, found.decision_us) == ("score", 0.75, "law", 1500)
    assert (found.stream, found.empty, found.refusal, found.captured) == (True, True, True, True)
    assert (found.prompt_tokens, found.completion_tokens, found.answer_model) == (100, 20, "large-1")
    assert (found.status, found.attempts, found.flags) == (200, 2, ())
    assert found.session == session_digest("s-1")
    assert "s-1" not in repr(found)


CASES: list[tuple[str, dict[str, Any] | None, dict[str, Any], dict[str, Any]]] = [
    ("routed without metadata", None, {}, {"reason": "script_error", "policy": ""}),
    (
        "decided without reason",
        {"policy": "chat/support"},
        {},
        {"reason": "script_error", "policy": "chat/support"},
    ),
    ("not routed", None, {"cluster": "", "status": 404}, {"reason": "", "status": 404}),
    (
        "unknown model",
        {"reason": "unknown_model"},
        {"cluster": "", "status": 404},
        {"reason": "unknown_model"},
    ),
    (
        "client left before an answer",
        FULL,
        {"status": 0, "flags": ["downstream_connection_termination"]},
        {"status": 0, "flags": ("downstream_connection_termination",), "ttft_us": None},
    ),
    (
        "timeout",
        FULL,
        {"status": 504, "flags": ["upstream_request_timeout"]},
        {"status": 504, "flags": ("upstream_request_timeout",)},
    ),
    (
        "served tier from the answer's header",
        {"policy": "p/q", "tier": "cheap"},
        {"served_header": "strong"},
        {"served_tier": "strong", "failed_over": True},
    ),
    (
        "served tier unknown",
        {"policy": "p/q", "tier": "cheap"},
        {},
        {"label_tier": "cheap", "failed_over": False},
    ),
    ("numbers as strings", {"score": "0.5", "decision_us": "12"}, {}, {"score": 0.5, "decision_us": 12}),
    (
        "nonsense for numbers",
        {"score": "nan", "decision_us": "x", "prompt_tokens": -1, "completion_tokens": 1e300},
        {},
        {"score": None, "decision_us": None, "prompt_tokens": None, "completion_tokens": None},
    ),
    (
        "wrong kinds",
        {"score": True, "tier": 7, "stream": "1"},
        {},
        {"score": None, "tier": "", "stream": True},
    ),
    (
        "served by the fallback route, without metadata",
        None,
        {"route": "chat/support/fallback", "served_header": "strong"},
        {"policy": "chat/support", "reason": "script_error", "label_tier": "strong"},
    ),
    ("another route's name", None, {"route": "cheap-0123/x"}, {"policy": "", "reason": "script_error"}),
    (
        "a record that is no JSON",
        {"policy": "p/q", "decision": '{"reason":"sc', "answer": "7"},
        {},
        {"policy": "p/q", "reason": "script_error"},
    ),
    (
        "a record of odd values",
        {"decision": r'{"reason":"score","tier":"\ud800","score":1e999,"intent":[]}'},
        {},
        {"reason": "score", "tier": "?", "score": None, "intent": ""},
    ),
    ("no request id", FULL, {"request_id": ""}, {"request_id": "stream-1"}),
    ("endless names", {"tier": "t" * 9999}, {}, {"tier": "t" * 512}),
    ("older Envoy", FULL, {"type": AccessLogType.NotSet}, {"reason": "score"}),
]


@pytest.mark.parametrize(
    ("metadata", "changes", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_entries(metadata: dict[str, Any] | None, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each odd entry is read as what it says, never refused."""
    found = parse(entry(metadata, **changes), "envoy-1")
    assert {name: getattr(found, name) for name in expected} == expected


def test_periodic_entries_end_no_request() -> None:
    """An entry that is written while a request is under way is not counted."""
    assert parse(entry(FULL, type=AccessLogType.DownstreamPeriodic), "envoy-1") is None
