"""What the data plane and the rooms around it agree on: names that Envoy's scripts set and others read.

Envoy's Lua writes dynamic metadata; the access log carries it to the evaluator; tests and benches read it.
These names are the whole contract: neither side imports the other. The Lua sources repeat them as literals,
and a unit test holds them equal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

METADATA_NAMESPACE: Final = "pointsman"
"""Dynamic-metadata namespace. Routes match on it; clients cannot set it."""

ALWAYS_STRONG: Final = "always-strong"
"""The built-in revision: all traffic to the last tier. What an empty status means."""

SHADOW_STAT_PREFIX: Final = "shadow"
"""`stat_prefix` of the listener of the evaluator's replays: they are never among the clients' counts."""

ENTRY_STAT_PREFIX: Final = "entry"
"""`stat_prefix` of the entry's connection manager: `http.entry.downstream_rq_total` counts every request."""

CLUSTER_XDS: Final = "pointsman-xds"
CLUSTER_ACCESS_LOG: Final = "pointsman-access-log"
CLUSTER_CAPTURE: Final = "pointsman-capture"
"""Static clusters of Envoy's bootstrap (addresses and TLS live there, see `xds.bootstrap`)."""

ACCESS_LOG_NAME: Final = "pointsman"

SHADOW_ID_PREFIX: Final = "shadow-"
"""What the `x-request-id` of the evaluator's own replays begins with: tiers tell them from clients' by it."""


class Header(StrEnum):
    """HTTP headers with a meaning of ours. A client's `x-pointsman-*` is dropped, but for the opt-out."""

    SESSION = "x-session-id"
    """Set by the client (optional): groups the requests of a conversation."""
    REQUEST_ID = "x-request-id"
    NO_CAPTURE = "x-pointsman-no-capture"
    """Set by the client (optional): keep no text of this request or its answer."""
    KEY = "x-pointsman-key"
    """Internal: what the arm is hashed on."""
    MODEL_AT = "x-pointsman-model-at"
    """Internal: `first:last:arrival`, byte offsets (1-based, inclusive) of the quoted model value in the body
    and when the body was there (µs), or the `Reason` why there is none."""
    SHADOW = "x-pointsman-shadow"
    """On the shadow listener alone: `namespace/policy/revision/tier`, the tier that shall answer."""
    SERVED_TIER = "x-pointsman-served-tier"
    """Response: the tier that answered. Within Envoy, on the short way: `#` and which attempt did."""
    REVISION = "x-pointsman-revision"
    """Response: the revision whose rules chose."""
    REASON = "x-pointsman-reason"
    """Response: why that tier, a `Reason`."""


DECISION: Final = "decision"
ANSWER: Final = "answer"
"""Metadata keys of two records, JSON objects as text: what was decided, and what came back."""


class Key(StrEnum):
    """What is known of a request; absent where not known. Numbers are numbers, the rest strings.

    Routes match on `policy` and `route`, which are metadata keys of their own. The rest lies in the records
    under `DECISION` and `ANSWER`: one string costs Envoy a fraction of what a dozen values do.
    """

    POLICY = "policy"
    """`namespace/name`."""
    REVISION = "revision"
    ROUTE = "route"
    """The chosen tier's route key: what the tier routes match on."""
    TIER = "tier"
    """Name of the tier that the decision chose."""
    SERVED_TIER = "served_tier"
    """Name of the tier that answered: differs from `tier` after a failover."""
    REASON = "reason"
    SCORE = "score"
    """The chosen tier's score, or the best score below its threshold; 0..1."""
    INTENT = "intent"
    DECISION_US = "decision_us"
    """Microseconds from the end of the request's body to the decision."""
    STREAM = "stream"
    """1 if the answer was an event stream."""
    PROMPT_TOKENS = "prompt_tokens"
    COMPLETION_TOKENS = "completion_tokens"
    ANSWER_MODEL = "answer_model"
    """`model` as the upstream reported it."""
    EMPTY = "empty"
    """1 if a 200 answer held neither text nor a tool call."""
    REFUSAL = "refusal"
    """1 if the answer carried a non-empty `refusal`."""
    ROLLOUT = "rollout"
    """`<rollout id>/<step index>/<i or c>`: of which live rollout, in which step, and whose arm (incumbent or
    candidate) the request was served."""
    CAPTURED = "captured"
    """1 if the text of this request was sent to the evaluator."""


class Reason(StrEnum):
    """Why a request went where it went: counted in Envoy (`pointsman.reason.<reason>`) and the access log."""

    SCORE = "score"
    """A tier below the last reached its threshold."""
    BELOW_THRESHOLD = "below_threshold"
    """No tier reached its threshold: the last one serves."""
    INTENT_RULE = "intent_rule"
    PINNED = "pinned"
    ALWAYS_STRONG = "always_strong"

    CLASSIFIER_TIMEOUT = "classifier_timeout"
    CLASSIFIER_UNAVAILABLE = "classifier_unavailable"
    """Refused, reset, overloaded or 503."""
    CLASSIFIER_ERROR = "classifier_error"
    """Any other status but 200."""
    CLASSIFIER_NONSENSE = "classifier_nonsense"
    """200, but not the scores that the bundle promises."""
    BODY_TOO_LARGE = "body_too_large"
    """More than the classifier is asked about: served by strong, unclassified."""
    BODY_EMPTY = "body_empty"
    BODY_UNREADABLE = "body_unreadable"
    """No top-level `model` could be read: not JSON, or none there."""
    BODY_HOSTILE = "body_hostile"
    """The scan's work budget ran out."""
    SCRIPT_ERROR = "script_error"

    UNKNOWN_MODEL = "unknown_model"
    """404: no policy on this host serves this model."""
    NO_POLICY = "no_policy"
    """400: the model could not be read, and several policies share the host."""


FAIL_OPEN: Final = frozenset(
    {
        Reason.CLASSIFIER_TIMEOUT,
        Reason.CLASSIFIER_UNAVAILABLE,
        Reason.CLASSIFIER_ERROR,
        Reason.CLASSIFIER_NONSENSE,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_EMPTY,
        Reason.BODY_UNREADABLE,
        Reason.BODY_HOSTILE,
        Reason.SCRIPT_ERROR,
    }
)
"""Reasons under which a request reached the strong tier without a decision (guard rubric `failOpen`)."""
