"""Policies as the evaluator needs them: what tiers cost, and what may be kept of the text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.meta import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.api.v1alpha1.tiers import Tier

NANO: Final = 1_000_000_000
MILLION: Final = 1_000_000
DEFAULT_MAX_BYTES: Final = 262_144
DEFAULT_RETENTION: Final = "168h"


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars for a million tokens: integers, so that sums are exact whatever their order."""

    input_nano: int
    output_nano: int

    def cost_nano(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the nano-dollars of one answer, rounded to the nearest."""
        return (
            prompt_tokens * self.input_nano + completion_tokens * self.output_nano + MILLION // 2
        ) // MILLION


@dataclass(frozen=True, slots=True)
class CaptureRule:
    """What of a request's text is kept, and for how long."""

    max_bytes: int
    redact: tuple[str, ...]
    retention_s: int


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """One policy. `tiers`: (name, price or None), cheap to strong."""

    key: str
    tiers: tuple[tuple[str, Price | None], ...]
    capture: CaptureRule | None = None

    def price(self, tier: str) -> Price | None:
        """Return a tier's current price; None if the policy has no such tier or the tier no price."""
        return dict(self.tiers).get(tier)

    @property
    def strongest(self) -> Price | None:
        """Price of the last tier: what always-strong would pay."""
        return self.tiers[-1][1] if self.tiers else None


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """One revision: prices at its freezing, for tiers that its policy no longer has."""

    policy: str
    name: str
    tiers: tuple[tuple[str, Price | None], ...]


def policy_facts(obj: dict[str, Any]) -> PolicyFacts:
    """Read a RoutingPolicy as the API server gives it; ValueError if it is none."""
    policy = RoutingPolicy.model_validate(obj)
    capture = policy.spec.evaluation.capture if policy.spec.evaluation else None
    rule = None
    if capture is not None:
        rule = CaptureRule(
            max_bytes=capture.max_bytes or DEFAULT_MAX_BYTES,
            redact=tuple(capture.redact),
            retention_s=int(seconds(capture.retention or DEFAULT_RETENTION)),
        )
    return PolicyFacts(policy.key, _prices(policy.spec.tiers), rule)


def revision_facts(obj: dict[str, Any]) -> RevisionFacts:
    """Read a RoutingPolicyRevision as the API server gives it; ValueError if it is none."""
    revision = RoutingPolicyRevision.model_validate(obj)
    namespace = revision.metadata.namespace
    return RevisionFacts(
        f"{namespace}/{revision.spec.policy_ref.name}", revision.metadata.name, _prices(revision.spec.tiers)
    )


def tier_price(policy: PolicyFacts | None, revision: RevisionFacts | None, tier: str) -> Price | None:
    """Return what a tier costs now: by the policy's current spec, else by the revision."""
    if policy is not None and any(name == tier for name, _ in policy.tiers):
        return policy.price(tier)
    return dict(revision.tiers).get(tier) if revision is not None else None


def _prices(tiers: Sequence[Tier]) -> tuple[tuple[str, Price | None], ...]:
    return tuple(
        (
            tier.name,
            Price(_nano(tier.price.input_per_million), _nano(tier.price.output_per_million))
            if tier.price
            else None,
        )
        for tier in tiers
    )


def _nano(dollars: str) -> int:
    return int(Decimal(dollars) * NANO)
