"""Conditions of a TritonPool: every type and reason with its meaning."""

from __future__ import annotations

from typing import Final

from pointsman.api.conditions import ENDS, ConditionReason, Explained, Reasons


class PoolConditionType(Explained):
    """Types of the conditions of a TritonPool."""

    ACCEPTED = "Accepted", "The spec can be served, and the API server took what it makes."
    AVAILABLE = "Available", "At least one Triton is ready, so requests are classified."
    READY = "Ready", "As many Tritons as there shall be are ready, and hold every model."


class PoolAcceptedReason(ConditionReason):
    """Reasons of `Accepted`."""

    ACCEPTED = "Accepted", "True", "The spec can be served."
    INVALID_SPEC = (
        "InvalidSpec",
        "False",
        "The stored spec breaks a rule of this version; apply it again.",
        ENDS,
    )
    QUOTA_EXCEEDED = "QuotaExceeded", "False", "A ResourceQuota of the namespace leaves no room."
    REFUSED = "Refused", "False", "The API server refuses what the spec makes; its words say why."


class PoolAvailableReason(ConditionReason):
    """Reasons of `Available`."""

    AVAILABLE = "Available", "True", "At least one Triton is ready."
    STARTING = "Starting", "False", "No Triton is ready yet: pods start, and load what traffic needs."
    OUT_OF_MEMORY = "OutOfMemory", "False", "A Triton has too little memory, of its GPU or of its own."
    UNSCHEDULABLE = "Unschedulable", "False", "No node takes the pods, for want of a GPU for instance."
    IMAGE_PULL_FAILED = "ImagePullFailed", "False", "An image cannot be pulled."
    POD_CRASH_LOOPING = "PodCrashLooping", "False", "A container ends again and again."


class PoolReadyReason(ConditionReason):
    """Reasons of `Ready` beside those that it takes over from the condition that is its cause."""

    READY = "Ready", "True", "Every Triton is ready and holds every model."
    SCALING = "Scaling", "False", "Fewer Tritons are ready than there shall be."
    MODEL_FAILED = "ModelFailed", "False", "A Triton cannot load a model that a policy wants."


PoolAcceptedReason.TYPE = PoolConditionType.ACCEPTED
PoolAvailableReason.TYPE = PoolConditionType.AVAILABLE
PoolReadyReason.TYPE = PoolConditionType.READY

POOL_REASONS: Final[Reasons] = (PoolAcceptedReason, PoolAvailableReason, PoolReadyReason)
"""Those of a TritonPool."""
