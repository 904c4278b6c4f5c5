"""Requests, policies and log entries for the evaluator's tests: say only what matters."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry

from pointsman.evaluator.answer import Kept
from pointsman.evaluator.guards import Measures
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.rows import CaptureRow
from pointsman.evaluator.store import Store
from pointsman.evaluator.store.sqlite import Sqlite

START_US = 1_790_000_000_000_000
POLICY = "chat/support"
REVISION = "support-0123456789"


def file_of(store: Store) -> sqlite3.Connection:
    """Return the connection of a store that is a file."""
    assert isinstance(store.db, Sqlite)
    return store.db.connection


class FakeClock:
    """A clock that stands still until it is told to go."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> datetime:
        """Return the time that it stands at."""
        return datetime.fromtimestamp(self.now_us / 1_000_000, tz=UTC)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += round(seconds * 1_000_000)


def record(number: int = 0, **changes: Any) -> AccessRecord:
    """Return a good answer of the cheap tier, number by number a second apart."""
    values: dict[str, Any] = {
        "node": "envoy-1",
        "request_id": f"request-{number}",
        "start_us": START_US + number * 1_000_000,
        "duration_us": 200_000,
        "policy": POLICY,
        "revision": REVISION,
        "tier": "cheap",
        "served_tier": "cheap",
        "reason": "score",
        "score": 0.75,
        "intent": "law",
        "status": 200,
        "attempts": 1,
        "decision_us": 1500,
        "ttft_us": 90_000,
        "prompt_tokens": 100,
        "completion_tokens": 20,
    }
    return AccessRecord(**(values | changes))


def measures(**changes: Any) -> Measures:
    """Return measures of such an answer."""
    values: dict[str, Any] = {
        "ttft_us": 90_000,
        "duration_us": 200_000,
        "decision_us": 1500,
        "output_tokens": 20,
        "cost_nano": 27_000,
        "baseline_nano": 450_000,
    }
    return Measures(**(values | changes))


def capture(number: int = 0, half: str = "request", **changes: Any) -> CaptureRow:
    """Return a stored text of request `number`."""
    values: dict[str, Any] = {
        "policy": POLICY,
        "request_id": f"request-{number}",
        "half": half,
        "at_us": START_US + number * 1_000_000,
        "revision": REVISION,
        "tier": "cheap",
        "status": 200 if half == "response" else 0,
        "content_type": "application/json",
        "retention_s": 3600,
        "kept": Kept("text", f"{half} text {number}", truncated=False),
    }
    return CaptureRow(**(values | changes))


ROLLOUT = "0a1b2c3d"
CANDIDATE = "support-fedcba9876"
POLITE: dict[str, Any] = {"name": "polite", "type": "Contains", "contains": {"all": ["please"]}}
"""A rubric that needs nothing but the answer's text."""


def rollout_status(rollout: str = ROLLOUT, **changes: Any) -> dict[str, Any]:
    """Return a policy's status with a live rollout in its first canary step."""
    began = "2026-09-21T14:13:20.000000Z"
    told: dict[str, Any] = {
        "id": rollout,
        "candidate": CANDIDATE,
        "incumbent": REVISION,
        "startedAt": began,
        "steps": [{"index": 3, "name": "Canary", "weightPermille": 250, "startedAt": began}],
    }
    return {"stableRevision": REVISION, "rollout": told | changes}


def policy_object(
    name: str = "support",
    *,
    capture_spec: dict[str, Any] | None = None,
    rubrics: Sequence[dict[str, Any]] = (),
    status: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a RoutingPolicy as the API server gives it."""
    spec: dict[str, Any] = {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
        "tiers": [
            {
                "name": "cheap",
                "endpoints": [{"url": "http://cheap.example/v1"}],
                "model": "small",
                "price": {"inputPerMillion": "0.15", "outputPerMillion": "0.60"},
            },
            {
                "name": "strong",
                "endpoints": [{"url": "http://strong.example/v1"}],
                "model": "large",
                "price": {"inputPerMillion": "2.50", "outputPerMillion": "10.00"},
            },
        ],
        "strategy": {"type": "Pinned", "pinned": {"tier": "cheap"}},
        "rollout": {"mode": "Direct"},
    }
    if capture_spec is not None:
        spec["evaluation"] = {"capture": capture_spec}
    if rubrics:
        spec.setdefault("evaluation", {})["rubrics"] = list(rubrics)
    made: dict[str, Any] = {"metadata": {"name": name, "namespace": "chat", "uid": "u-1"}, "spec": spec}
    return made | ({"status": status} if status else {})


def revision_object(
    name: str = REVISION, policy: str = "support", *, bundle: str = "", triton: str = "http://127.0.0.1:9"
) -> dict[str, Any]:
    """Return a RoutingPolicyRevision as the API server gives it; `bundle`: hex digits of its classifier's."""
    spec = policy_object()["spec"]
    kept = {"policyRef": {"name": policy}, "tiers": spec["tiers"], "strategy": spec["strategy"]}
    if bundle:
        classifier = {
            "artifact": {"uri": "configmap://bundle", "sha256": bundle * (64 // len(bundle))},
            "thresholds": [{"tier": "cheap", "minScorePermille": 500}],
        }
        kept["strategy"] = {"type": "Classifier", "classifier": classifier}
        kept["triton"] = {"external": {"urls": [triton]}}
    return {"metadata": {"name": name, "namespace": "chat"}, "spec": kept}


def known_policies(capture_spec: dict[str, Any] | None = None, **more: Any) -> Policies:
    """Return a view with the one policy `chat/support` and its revisions, synced."""
    policies = Policies()
    policies.put_revision(f"chat/{REVISION}", revision_object())
    policies.put_revision(f"chat/{CANDIDATE}", revision_object(CANDIDATE))
    policies.put_policy(POLICY, policy_object(capture_spec=capture_spec, **more))
    policies.synced.set()
    return policies


def entry(metadata: dict[str, Any] | None = None, **changes: Any) -> HTTPAccessLogEntry:
    """Return an entry as Envoy 1.40 writes it for a good answer; `flags` sets response flags."""
    made = HTTPAccessLogEntry()
    common = made.common_properties
    common.start_time.FromMicroseconds(START_US)
    common.duration.FromMicroseconds(changes.get("duration_us", 200_000))
    if "ttft_us" in changes:
        common.time_to_first_downstream_tx_byte.FromMicroseconds(changes["ttft_us"])
    common.upstream_cluster = changes.get("cluster", "tier")
    common.route_name = changes.get("route", "")
    common.upstream_request_attempt_count = changes.get("attempts", 1)
    common.stream_id = "stream-1"
    common.access_log_type = changes.get("type", AccessLogType.DownstreamEnd)
    for flag in changes.get("flags", ()):
        setattr(common.response_flags, flag, True)
    if metadata is not None:
        common.metadata.filter_metadata["pointsman"].update(metadata)
    made.request.request_id = changes.get("request_id", "request-1")
    if "session" in changes:
        made.request.request_headers["x-session-id"] = changes["session"]
    if "served_header" in changes:
        made.response.response_headers["x-pointsman-served-tier"] = changes["served_header"]
    if changes.get("status", 200):
        made.response.response_code.value = changes.get("status", 200)
    return made
