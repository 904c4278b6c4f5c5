"""Conditions: every type and reason with its meaning, and the pure functions that keep them.

A reason belongs to one condition type and fixes its status, so that the two cannot contradict each other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self, TypeVar

from pointsman.api.v1alpha1.meta import Condition
from pointsman.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Status = Literal["True", "False", "Unknown"]

_LONGEST_MESSAGE: Final = 32768
STALLED: Final = "Stalled"
"""Type of the condition that is True, or not there: as kstatus has it, and so Flux and Helm."""
ENDS: Final = True
"""Mark of a reason that stays until somebody changes the spec or says a word: waiting is of no use."""


class Explained(StrEnum):
    """Condition types of a kind: each value with one sentence."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        """Take the value and the sentence that explains it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class ConditionType(Explained):
    """Types of the conditions of a RoutingPolicy."""

    ACCEPTED = (
        "Accepted",
        "The spec can be served: it is sound, what it refers to exists, and its hosts are free.",
    )
    CLASSIFIER_READY = "ClassifierReady", "Every Triton replica holds the classifier that the spec asks for."
    PROGRAMMED = "Programmed", "Every Envoy of the gateway has acknowledged what the policy wants served."
    PROGRESSING = "Progressing", "The revision that the spec asks for is in force, or nothing holds it up."
    READY = "Ready", "All of the above: the traffic goes where this generation of the spec says."


class ConditionReason(StrEnum):
    """A reason: its value, the status that it implies, and one sentence. `TYPE` is its condition."""

    TYPE: ClassVar[Explained]
    status: Status
    sentence: str
    ends: bool

    def __new__(
        cls,
        value: str,
        status: Status,
        sentence: str,
        ends: bool = False,  # noqa: FBT001, FBT002 - an enum's members are written as tuples
    ) -> Self:
        """Take the value, the status, the sentence that explains it, and whether it is the end (`ENDS`)."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.sentence = sentence
        member.ends = ends
        return member


class AcceptedReason(ConditionReason):
    """Reasons of `Accepted`."""

    ACCEPTED = "Accepted", "True", "The spec can be served."
    INVALID_SPEC = (
        "InvalidSpec",
        "False",
        "The stored spec breaks a rule of this version; apply it again.",
        ENDS,
    )
    HOST_CONFLICT = (
        "HostConflict",
        "False",
        "An older policy holds one of the hostnames for one of the models.",
    )
    BUNDLE_MISMATCH = (
        "BundleMismatch",
        "False",
        "The bundle has another number of tiers, or does not know an intent of perIntent.",
        ENDS,
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        "False",
        "A tier's apiKeyRef names a Secret or a key that is not there.",
    )
    SECRET_FORBIDDEN = (
        "SecretForbidden",
        "False",
        "Pointsman may not read a Secret that a tier's apiKeyRef names; the message has the command.",
    )
    GATEWAY_NOT_FOUND = "GatewayNotFound", "False", "No RoutingGateway has the name in gatewayRef."
    NAMESPACE_NOT_ALLOWED = (
        "NamespaceNotAllowed",
        "False",
        "The RoutingGateway takes no policies of this namespace; nothing of it is served.",
    )
    TIER_HOST_NOT_ALLOWED = (
        "TierHostNotAllowed",
        "False",
        "A tier is at a host that the RoutingGateway does not allow; nothing is sent there.",
    )
    REVISION_CONFLICT = (
        "RevisionConflict",
        "False",
        "A revision of that name belongs to another object; delete it or rename the policy.",
    )


class ClassifierReadyReason(ConditionReason):
    """Reasons of `ClassifierReady`."""

    LOADED = "Loaded", "True", "Every Triton replica has loaded and warmed the bundle."
    NOT_NEEDED = "NotNeeded", "True", "The strategy asks no classifier."
    LOADING = "Loading", "False", "The bundle is being fetched, checked or loaded."
    BUNDLE_NOT_FOUND = "BundleNotFound", "False", "Nothing is at artifact.uri."
    FETCH_FAILED = "FetchFailed", "False", "artifact.uri could not be read; it is tried again."
    DIGEST_MISMATCH = "DigestMismatch", "False", "What is at artifact.uri does not have artifact.sha256."
    BUNDLE_REJECTED = (
        "BundleRejected",
        "False",
        "The file is no bundle that this version can serve, or Triton refused it.",
        ENDS,
    )
    BUNDLE_MISMATCH = (
        "BundleMismatch",
        "False",
        "The bundle scores another number of tiers, or does not know an intent of perIntent.",
        ENDS,
    )
    RELOADING = (
        "Reloading",
        "False",
        "A Triton replica lost the bundle; it is loaded again, and the last tier serves meanwhile.",
    )
    TRITON_UNREACHABLE = "TritonUnreachable", "False", "A Triton replica does not answer; it is tried again."
    OUT_OF_MEMORY = (
        "OutOfMemory",
        "False",
        "A Triton has too little memory, of its GPU or of its own, to load the bundle.",
    )
    POOL_NOT_FOUND = "PoolNotFound", "False", "triton.managed names a TritonPool that is not there."
    POOL_NOT_ALLOWED = (
        "PoolNotAllowed",
        "False",
        "The TritonPool's allowedNamespaces leave the policy's namespace out.",
    )
    POOL_STARTING = (
        "PoolStarting",
        "False",
        "No Triton of the pool is ready yet: pods start, and load what traffic needs.",
    )
    UNSCHEDULABLE = "Unschedulable", "False", "No node takes the pool's pods, for want of a GPU for instance."
    IMAGE_PULL_FAILED = "ImagePullFailed", "False", "An image of the pool's pods cannot be pulled."
    POD_CRASH_LOOPING = "PodCrashLooping", "False", "A container of the pool's pods ends again and again."
    FILE_ARTIFACTS_NOT_ALLOWED = (
        "FileArtifactsNotAllowed",
        "False",
        "artifact.uri is a file://, and the operator runs without --allow-file-artifacts.",
        ENDS,
    )


class ProgrammedReason(ConditionReason):
    """Reasons of `Programmed`."""

    ACKNOWLEDGED = "Acknowledged", "True", "Every connected Envoy of the gateway serves this generation."
    PENDING = "Pending", "False", "The configuration is on its way; not every Envoy has acknowledged it."
    QUARANTINED = "Quarantined", "False", "Envoy refused the configuration; its last good form is served."
    NO_ENVOY = "NoEnvoy", "False", "No Envoy with this gateway's name is connected."
    REVISION_NOT_FOUND = (
        "RevisionNotFound",
        "False",
        "status.traffic names a revision that is not there; the last plan is served.",
    )
    NOT_ACCEPTED = "NotAccepted", "False", "The policy is not accepted, so nothing new is served."
    XDS_UNREACHABLE = (
        "XdsUnreachable",
        "Unknown",
        "No xds server says what the Envoys hold; they go on with what they have.",
    )


class ProgressingReason(ConditionReason):
    """Reasons of `Progressing`."""

    PROMOTED = "Promoted", "True", "The revision that the spec asks for has all of the traffic."
    WAITING_FOR_CLASSIFIER = (
        "WaitingForClassifier",
        "False",
        "The new revision takes no traffic before its classifier is ready.",
    )
    WAITING_FOR_ENVOY = (
        "WaitingForEnvoy",
        "Unknown",
        "The candidate takes no traffic before every Envoy has acknowledged its tiers.",
    )
    GATING = "Gating", "Unknown", "The candidate answers the cases of the gate."
    MEASURING_NOISE = "MeasuringNoise", "Unknown", "The incumbent's own wobble is measured."
    SHADOWING = "Shadowing", "Unknown", "The candidate answers captured requests off the path."
    OBSERVING = "Observing", "True", "mode is Observe: the candidate is shadowed and takes no traffic."
    CANARY = "Canary", "Unknown", "The candidate serves a share of the traffic."
    AWAITING_APPROVAL = "AwaitingApproval", "Unknown", "A RolloutAction must say Approve before it goes on."
    EVIDENCE_MISSING = (
        "EvidenceMissing",
        "False",
        "The counts are missing or stale: the weight is held, nothing is decided.",
    )
    INCONCLUSIVE = "Inconclusive", "False", "The step's time is over without a verdict: the weight is held."
    SUSPENDED = (
        "Suspended",
        "False",
        "suspend is true: traffic and step stay as they are; what is proven bad is still rolled back.",
    )
    ROLLED_BACK = "RolledBack", "False", "The candidate was proven worse; the incumbent serves.", ENDS
    SHADOW_FAILED = (
        "ShadowFailed",
        "False",
        "The candidate was proven worse before it took any traffic.",
        ENDS,
    )
    GATE_FAILED = "GateFailed", "False", "The candidate failed the gate and took no traffic.", ENDS
    ABORTED = "Aborted", "False", "A RolloutAction ended the rollout; the incumbent serves.", ENDS
    FORCED_STRONG = "ForcedStrong", "False", "A RolloutAction sent all traffic to the last tier.", ENDS
    ALWAYS_STRONG = "AlwaysStrong", "False", "No revision is in force: all traffic goes to the last tier."
    NOT_ACCEPTED = "NotAccepted", "False", "The policy is not accepted, so no revision comes into force."


class ReadyReason(ConditionReason):
    """Reasons of `Ready` beside those that it takes over from the condition that is its cause."""

    READY = "Ready", "True", "The traffic goes where this generation of the spec says."
    RECONCILING = "Reconciling", "Unknown", "The operator has not yet looked at this generation of the spec."


R = TypeVar("R", bound=ConditionReason)

AcceptedReason.TYPE = ConditionType.ACCEPTED
ClassifierReadyReason.TYPE = ConditionType.CLASSIFIER_READY
ProgrammedReason.TYPE = ConditionType.PROGRAMMED
ProgressingReason.TYPE = ConditionType.PROGRESSING
ReadyReason.TYPE = ConditionType.READY

Reasons = tuple[type[ConditionReason], ...]
"""Reasons of a kind's conditions, in the order in which a cause is looked for; those of `Ready` last."""

REASONS: Final[Reasons] = (
    AcceptedReason,
    ClassifierReadyReason,
    ProgrammedReason,
    ProgressingReason,
    ReadyReason,
)
"""Those of a RoutingPolicy."""


def condition(reason: ConditionReason, message: str, generation: int, now: datetime) -> Condition:
    """Return the condition that `reason` belongs to; an empty message is the reason's own sentence."""
    return Condition(
        type=reason.TYPE.value,
        status=reason.status,
        observed_generation=generation,
        last_transition_time=rfc3339(now),
        reason=reason.value,
        message=(message or reason.sentence)[:_LONGEST_MESSAGE],
    )


def set_condition(conditions: Sequence[Condition], new: Condition, now: datetime) -> list[Condition]:
    """Return `conditions` with `new` in its type's place (else at the end).

    `lastTransitionTime` is `now` if the status changed, else what it was; everything else is `new`'s.
    """
    old = find(conditions, new.type)
    moved = old is None or old.status != new.status
    stamped = new.model_copy(
        update={"last_transition_time": rfc3339(now) if old is None or moved else old.last_transition_time}
    )
    if old is None:
        return [*conditions, stamped]
    return [stamped if c.type == new.type else c for c in conditions]


def named(reasons: type[R], value: str) -> R:
    """Return the reason of this value."""
    return next(reason for reason in reasons if reason.value == value)


def find(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((c for c in conditions if c.type == kind), None)


def summed_up(
    conditions: Sequence[Condition], generation: int, now: datetime, reasons: Reasons = REASONS
) -> list[Condition]:
    """Return `conditions` with `Ready` as it follows from them, and with `Stalled` if that is so."""
    found = set_condition(conditions, summarize(conditions, generation, now, reasons), now)
    return with_stalled(found, generation, now, reasons)


def with_stalled(
    conditions: Sequence[Condition], generation: int, now: datetime, reasons: Reasons
) -> list[Condition]:
    """Return `conditions` with `Stalled` in the words of the first that is the end, else without it."""
    for kind in reasons:
        found = find(conditions, kind.TYPE)
        ends = found is not None and found.reason in {reason.value for reason in kind if reason.ends}
        if found is not None and ends and found.observed_generation >= generation:
            words = f"{kind.TYPE}: {found.message}"[:_LONGEST_MESSAGE]
            told = found.model_copy(update={"type": STALLED, "status": "True", "message": words})
            return set_condition(conditions, told, now)
    return [c for c in conditions if c.type != STALLED]


def summarize(
    conditions: Sequence[Condition], generation: int, now: datetime, reasons: Reasons = REASONS
) -> Condition:
    """Return `Ready`: False with the words of the first false condition in the order of `reasons`.

    With none false: Unknown while one is unknown, missing or of an older generation; else True.
    `lastTransitionTime` is `now`: store the result with `set_condition`.
    """
    *others, ready = reasons
    causes = [(r.TYPE, find(conditions, r.TYPE)) for r in others]
    fresh = [
        (kind, c if c is not None and c.observed_generation >= generation else None) for kind, c in causes
    ]
    for status in ("False", "Unknown"):
        for kind, cause in fresh:
            if cause is not None and cause.status == status:
                return Condition(
                    type=ready.TYPE.value,
                    status=status,
                    observed_generation=generation,
                    last_transition_time=rfc3339(now),
                    reason=cause.reason,
                    message=f"{kind}: {cause.message}"[:_LONGEST_MESSAGE],
                )
    behind = [kind.value for kind, cause in fresh if cause is None]
    if behind:
        message = f"not yet computed for generation {generation}: {', '.join(behind)}"
        return condition(named(ready, "Reconciling"), message, generation, now)
    return condition(named(ready, "Ready"), "", generation, now)
