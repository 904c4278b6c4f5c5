"""One finished request, as Envoy's access log tells it. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.contract import ANSWER, DECISION, METADATA_NAMESPACE, Header, Key, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.struct_pb2 import Struct

DOWNSTREAM_END: Final = (0, 6)
"""`access_log_type` of an entry that ends a request: NotSet (older Envoys) and DownstreamEnd."""
FALLBACK_ROUTE: Final = "fallback"
"""Last part of the name of a policy's route for what no script could place: `namespace/name/fallback`."""
LONGEST_NAME: Final = 512
"""Longer values of names are cut: nothing that a sender controls grows the store without bound."""
MOST_TOKENS: Final = 1 << 31
ARMS: Final = {"i": "incumbent", "c": "candidate"}
_ROLLOUT: Final = re.compile(r"([0-9a-z]{1,16})/(\d{1,2})/([ic])", re.ASCII)
"""`Key.ROLLOUT`."""


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """A request that has ended. Strings are empty and numbers None where the log did not say."""

    node: str
    """Envoy's node id, unique for each of its starts."""
    request_id: str
    start_us: int
    """When it arrived, in microseconds of Unix time, by Envoy's clock."""
    duration_us: int
    policy: str = ""
    """`namespace/name`; empty where no policy was found for the request."""
    revision: str = ""
    tier: str = ""
    """The tier that the decision chose."""
    served_tier: str = ""
    """The tier that answered."""
    reason: str = ""
    score: float | None = None
    intent: str = ""
    status: int = 0
    """HTTP status; 0: the client left before there was one."""
    flags: tuple[str, ...] = ()
    """Envoy's response flags, by their names in the access log's protobuf."""
    attempts: int = 0
    decision_us: int | None = None
    ttft_us: int | None = None
    """From the request's arrival to the first byte that Envoy sent back."""
    stream: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    answer_model: str = ""
    empty: bool = False
    refusal: bool = False
    captured: bool = False
    session: str = ""
    """SHA-256 of the client's session id, in hex: finds a session that is named, tells none."""
    rollout: str = ""
    """Id of the rollout that it was served in; "": none was live."""
    step: int = 0
    """Index of the rollout's step."""
    arm: str = ""
    """`incumbent` or `candidate`; "" without a rollout."""

    @property
    def end_us(self) -> int:
        """When it ended, by Envoy's clock."""
        return self.start_us + self.duration_us

    @property
    def label_tier(self) -> str:
        """The tier that this request counts for: the one that answered, else the one that should have."""
        return self.served_tier or self.tier

    @property
    def failed_over(self) -> bool:
        """Whether another tier answered than the chosen one."""
        return bool(self.tier and self.served_tier and self.tier != self.served_tier)


def session_digest(session_id: str) -> str:
    """Return what is stored of a session id."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def parse(entry: HTTPAccessLogEntry, node: str) -> AccessRecord | None:
    """Return the request that `entry` is about; None for an entry that does not end one (a periodic one)."""
    common, request, response = entry.common_properties, entry.request, entry.response
    if common.intermediate_log_entry or common.access_log_type not in DOWNSTREAM_END:
        return None
    found = _known(common.metadata.filter_metadata)
    policy = _text(found, Key.POLICY) or _policy_of_route(common.route_name)
    served = _text(found, Key.SERVED_TIER) or response.response_headers.get(Header.SERVED_TIER, "")
    reason = _text(found, Key.REASON)
    if not reason and (policy or common.upstream_cluster):
        reason = Reason.SCRIPT_ERROR.value  # it was routed, and no script said why
    session = request.request_headers.get(Header.SESSION, "")
    rollout, step, arm = _rollout(found) if policy else ("", 0, "")
    return AccessRecord(
        node=node[:LONGEST_NAME],
        request_id=(request.request_id or common.stream_id)[:LONGEST_NAME],
        start_us=common.start_time.seconds * 1_000_000 + common.start_time.nanos // 1000,
        duration_us=_micros(common.duration),
        policy=policy,
        revision=_text(found, Key.REVISION),
        tier=_text(found, Key.TIER),
        served_tier=served[:LONGEST_NAME],
        reason=reason,
        score=_number(found, Key.SCORE),
        intent=_text(found, Key.INTENT),
        status=response.response_code.value,
        flags=tuple(field.name for field, value in common.response_flags.ListFields() if value is True),
        attempts=common.upstream_request_attempt_count,
        decision_us=_count(found, Key.DECISION_US),
        ttft_us=(
            _micros(common.time_to_first_downstream_tx_byte)
            if common.HasField("time_to_first_downstream_tx_byte")
            else None
        ),
        stream=_flag(found, Key.STREAM),
        prompt_tokens=_count(found, Key.PROMPT_TOKENS),
        completion_tokens=_count(found, Key.COMPLETION_TOKENS),
        answer_model=_text(found, Key.ANSWER_MODEL),
        empty=_flag(found, Key.EMPTY),
        refusal=_flag(found, Key.REFUSAL),
        captured=_flag(found, Key.CAPTURED),
        session=session_digest(session) if session else "",
        rollout=rollout,
        step=step,
        arm=arm,
    )


def _policy_of_route(name: str) -> str:
    """Return the policy whose fallback served a request that no script placed: routes bear its name."""
    policy, _, kind = name.rpartition("/")
    return policy[:LONGEST_NAME] if kind == FALLBACK_ROUTE and policy.count("/") == 1 else ""


def _rollout(found: Mapping[str, Any]) -> tuple[str, int, str]:
    """Return rollout, step and arm as Envoy's own plan named them; nothing is guessed from time."""
    named = _ROLLOUT.fullmatch(_text(found, Key.ROLLOUT))
    return (named[1], int(named[2]), ARMS[named[3]]) if named else ("", 0, "")


def _micros(duration: Duration) -> int:
    return int(duration.seconds * 1_000_000 + duration.nanos // 1000)


def _known(metadata: Mapping[str, Struct]) -> dict[str, Any]:
    """Return what the scripts said: plain values, and those of the two records (JSON objects as text)."""
    if METADATA_NAMESPACE not in metadata:
        return {}
    found: dict[str, Any] = {}
    for key, value in metadata[METADATA_NAMESPACE].fields.items():
        kind = value.WhichOneof("kind")
        found[key] = getattr(value, kind) if kind else None
    for record in (DECISION, ANSWER):
        try:
            said = json.loads(found.get(record, "{}"))
        except (TypeError, ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            found |= said
    return found


def _text(found: Mapping[str, Any], key: Key) -> str:
    value = found.get(key.value)
    # A lone surrogate (half an escaped emoji) is no text that could be stored.
    return value[:LONGEST_NAME].encode(errors="replace").decode() if isinstance(value, str) else ""


def _number(found: Mapping[str, Any], key: Key) -> float | None:
    """Return a finite number; a number that came as a string is one too (Lua mixes them)."""
    value = found.get(key.value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _count(found: Mapping[str, Any], key: Key) -> int | None:
    number = _number(found, key)
    return round(number) if number is not None and 0 <= number <= MOST_TOKENS else None


def _flag(found: Mapping[str, Any], key: Key) -> bool:
    return found.get(key.value) is True or _number(found, key) == 1
