"""Conditions of a RoutingGateway: every type and reason with its meaning."""

from __future__ import annotations

from typing import Final

from pointsman.api.conditions import ENDS, ConditionReason, Explained, Reasons


class GatewayConditionType(Explained):
    """Types of the conditions of a RoutingGateway."""

    ACCEPTED = "Accepted", "The spec is sound, what it names is there, and the API server took what it makes."
    CERTIFIED = "Certified", "The Envoys have a certificate that xds and evaluator trust."
    AVAILABLE = "Available", "As many Envoys as wanted run this spec and are ready."
    READY = "Ready", "All of the above."


class GatewayAcceptedReason(ConditionReason):
    """Reasons of `Accepted`."""

    ACCEPTED = "Accepted", "True", "The spec is sound."
    INVALID_SPEC = (
        "InvalidSpec",
        "False",
        "The stored spec breaks a rule of this version; apply it again.",
        ENDS,
    )
    SECRET_NOT_FOUND = (
        "SecretNotFound",
        "False",
        "A listener's certificateRefs names a Secret of type kubernetes.io/tls that is not there.",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        "False",
        "A listener's Secret holds no certificate with its key, or one that has expired.",
    )
    QUOTA_EXCEEDED = "QuotaExceeded", "False", "A ResourceQuota of the namespace leaves no room."
    REFUSED = "Refused", "False", "The API server refuses what the spec makes; its words say why."


class CertifiedReason(ConditionReason):
    """Reasons of `Certified`."""

    CERTIFIED = "Certified", "True", "The Envoys have a certificate that xds and evaluator trust."
    CERTIFICATE_MISSING = "CertificateMissing", "False", "The Envoys' certificate Secret is not there."
    CERTIFICATE_INVALID = (
        "CertificateInvalid",
        "False",
        "The Envoys' certificate Secret holds no certificate of theirs with its key and authority.",
    )
    CERTIFICATE_EXPIRED = "CertificateExpired", "False", "The Envoys' certificate has expired."


class AvailableReason(ConditionReason):
    """Reasons of `Available`."""

    AVAILABLE = "Available", "True", "As many Envoys as wanted run this spec and are ready."
    PROGRESSING = "Progressing", "Unknown", "Envoys start, and nothing is known to hold them up."
    QUOTA_EXCEEDED = "QuotaExceeded", "False", "A ResourceQuota of the namespace leaves no room for a pod."
    PODS_REFUSED = "PodsRefused", "False", "Admission refuses the pods."
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff", "False", "A node cannot pull an image."
    INIT_CONTAINER_FAILED = "InitContainerFailed", "False", "The container that writes the bootstrap fails."
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff", "False", "Envoy ends again and again."
    CONTAINER_REFUSED = "ContainerRefused", "False", "A node cannot make a container."
    UNSCHEDULABLE = "Unschedulable", "False", "No node has room for a pod."
    NOT_READY = (
        "NotReady",
        "False",
        "Envoy runs and has no listener yet: xds does not answer it, or a certificate is missing.",
    )


class GatewayReadyReason(ConditionReason):
    """Reasons of `Ready` beside those that it takes over from the condition that is its cause."""

    READY = "Ready", "True", "The Envoys are as the spec says."
    RECONCILING = "Reconciling", "Unknown", "The operator has not yet looked at this generation of the spec."


GatewayAcceptedReason.TYPE = GatewayConditionType.ACCEPTED
CertifiedReason.TYPE = GatewayConditionType.CERTIFIED
AvailableReason.TYPE = GatewayConditionType.AVAILABLE
GatewayReadyReason.TYPE = GatewayConditionType.READY

GATEWAY_REASONS: Final[Reasons] = (
    GatewayAcceptedReason,
    CertifiedReason,
    AvailableReason,
    GatewayReadyReason,
)
"""In the order in which a cause is looked for; `Ready` last."""
