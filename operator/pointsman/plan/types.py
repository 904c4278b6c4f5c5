"""The plan: values that say completely what one gateway's Envoys shall serve. Frozen, hashable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any


def digest(value: Any) -> str:
    """Return 12 hex digits that name a dataclass or JSON value by its content."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@lru_cache(maxsize=16_384)
def _digest_of(plan: TierPlan | TritonPlan) -> str:
    """Remember the names of tiers and Tritons: a translation asks for each of them dozens of times."""
    return digest(plan)


def _hash_once(plan: Any) -> int:
    """Hash a plan of any depth by its fields, and remember it: plans are keys of all that is made of them."""
    known: int | None = plan.__dict__.get("_hash")
    if known is None:
        known = plan.__dict__["_hash"] = hash(tuple(getattr(plan, each.name) for each in fields(plan)))
    return known


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that must not be seen: neither in a repr nor in a log."""

    value: bytes = field(repr=False)

    def __str__(self) -> str:
        """Show that there is something, not what."""
        return "[redacted]"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of an upstream. `path_prefix` has no trailing slash (`/v1` of `https://api.example.com/v1`)."""

    scheme: str
    host: str
    port: int
    path_prefix: str


@dataclass(frozen=True, slots=True)
class SecretName:
    """Where a tier's key lies: `namespace/name/key`. The bytes travel beside the plan, by SDS."""

    namespace: str
    name: str
    key: str

    @property
    def resource(self) -> str:
        """Name of the SDS resource."""
        return f"{self.namespace}/{self.name}/{self.key}"


@dataclass(frozen=True)
class TierPlan:
    """A tier as one arm serves it."""

    __hash__ = _hash_once

    name: str
    endpoints: tuple[Endpoint, ...]
    model: str
    api_key: SecretName | None
    idle_timeout_ms: int
    total_timeout_ms: int
    namespace: str
    """The policy's: two tenants never share a listener, so neither meets the other's key or statistics."""

    @property
    def id(self) -> str:
        """Content name, of Envoy's cluster and internal listener: unchanged tiers stay untouched."""
        return f"{self.name}-{_digest_of(self)}"


@dataclass(frozen=True, slots=True)
class TritonPlan:
    """The Triton servers that classify for an arm: `host:port`, all with the same models."""

    addresses: tuple[str, ...]

    @property
    def id(self) -> str:
        """Name of the cluster."""
        return f"triton-{_digest_of(self)}"


@dataclass(frozen=True, slots=True)
class ClassifierPlan:
    """How a classifier's scores become a tier."""

    model: str
    """Triton model: `pm-<bundle sha256>`."""
    triton: TritonPlan
    deadline_ms: int
    thresholds: tuple[tuple[str, int], ...]
    """(tier, least score in permille), cheap to strong."""
    per_intent: tuple[tuple[str, str], ...]
    """(intent, tier)."""


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One revision and its share of the traffic. Without classifier and pin, the last tier serves all."""

    revision: str
    weight_permille: int
    tiers: tuple[TierPlan, ...]
    classifier: ClassifierPlan | None = None
    pinned: str | None = None
    label: str = ""
    """`<rollout id>/<step index>/<i or c>`, what its requests are counted under; empty without a rollout."""


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """What text is sampled. Redaction and retention are the evaluator's, before and after it is stored."""

    sample_permille: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class StickyPlan:
    """What a request's arm is hashed on, where a policy has several."""

    salt: str = ""
    """The rollout's id: each rollout tries its candidate on another slice of the clients."""
    header: str = ""
    """Request header whose value is the key; where it is unset or missing, the conversation is."""


@dataclass(frozen=True)
class PolicyPlan:
    """One policy as Envoy shall serve it."""

    __hash__ = _hash_once

    namespace: str
    name: str
    generation: int
    hostnames: tuple[str, ...]
    models: tuple[str, ...]
    arms: tuple[ArmPlan, ...]
    """With weight > 0, sum 1000; routed."""
    warm: tuple[ArmPlan, ...] = ()
    """Weight 0: clusters, listeners and secrets are in place, no route."""
    capture: CapturePlan | None = None
    sticky: StickyPlan | None = None
    """None with one arm."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class CertificateName:
    """A Secret of type kubernetes.io/tls. Its bytes travel beside the plan, by SDS."""

    namespace: str
    name: str

    @property
    def resource(self) -> str:
        """Name of the SDS resource; no tier's key is named so, as no namespace has a colon."""
        return f"certificate:{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """A port that clients connect to."""

    name: str
    port: int
    """What Envoy binds; the Service maps the port that clients know to it."""
    certificates: tuple[CertificateName, ...] = ()
    """HTTPS with these, chosen by SNI, the first where none fits; without any: plain HTTP."""


@dataclass(frozen=True, slots=True)
class FrontPlan:
    """What a RoutingGateway says of its Envoys. `body_limit` in bytes."""

    listeners: tuple[ListenerPlan, ...]
    body_limit: int


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """Everything that the Envoys with `node.cluster == gateway` shall serve, sorted by policy key."""

    gateway: str
    policies: tuple[PolicyPlan, ...]
    front: FrontPlan | None = None
    """None: one listener, where the xds server was told to have it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a policy is not (fully) in the plan: a reason of `Accepted` or `Programmed`, and words."""

    policy: str
    reason: str
    message: str
