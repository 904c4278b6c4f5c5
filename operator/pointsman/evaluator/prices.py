"""Policies as the evaluator needs them: what tiers cost, and what may be kept of the text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.meta import seconds
from pointsman.contract import ALWAYS_STRONG
from pointsman.triton.repository import model_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.api.v1alpha1.rubrics import Rubric
    from pointsman.api.v1alpha1.status import RolloutStatus
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
class RolloutFacts:
    """The rollout that a policy's status tells of."""

    id: str
    incumbent: str
    """Revision, or always-strong."""
    candidate: str
    ended_us: int | None = None
    """Microseconds of Unix time; None: it is live."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """One policy. `tiers`: (name, price or None), cheap to strong."""

    key: str
    tiers: tuple[tuple[str, Price | None], ...]
    capture: CaptureRule | None = None
    uid: str = ""
    rubrics: tuple[Rubric, ...] = ()
    stable: str = ALWAYS_STRONG
    """Revision in force."""
    rollout: RolloutFacts | None = None
    """The one under way, or the last one."""

    @property
    def live(self) -> RolloutFacts | None:
        """The rollout under way."""
        return self.rollout if self.rollout is not None and self.rollout.ended_us is None else None

    @property
    def measured(self) -> str:
        """The revision whose own wobble is measured: a live rollout's incumbent, else what is in force."""
        return self.live.incumbent if self.live is not None else self.stable

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
    model: str = ""
    """The classifier's name on Triton; "": it has none."""


def policy_facts(obj: dict[str, Any]) -> PolicyFacts:
    """Read a RoutingPolicy as the API server gives it; ValueError if it is none."""
    return facts_of(RoutingPolicy.model_validate(obj))


def facts_of(policy: RoutingPolicy) -> PolicyFacts:
    """Return what the evaluator needs of a policy."""
    capture = policy.spec.evaluation.capture if policy.spec.evaluation else None
    rule = None
    if capture is not None:
        rule = CaptureRule(
            max_bytes=capture.max_bytes or DEFAULT_MAX_BYTES,
            redact=tuple(capture.redact),
            retention_s=int(seconds(capture.retention or DEFAULT_RETENTION)),
        )
    status = policy.status
    return PolicyFacts(
        key=policy.key,
        tiers=_prices(policy.spec.tiers),
        capture=rule,
        uid=policy.metadata.uid,
        rubrics=tuple(policy.spec.evaluation.rubrics) if policy.spec.evaluation else (),
        stable=status.stable_revision or ALWAYS_STRONG,
        rollout=_rollout(status.rollout) if status.rollout is not None else None,
    )


def facts_of_revision(revision: RoutingPolicyRevision) -> RevisionFacts:
    """Return what the evaluator needs of a revision."""
    spec = revision.spec
    classifier = spec.strategy.classifier
    return RevisionFacts(
        policy=f"{revision.metadata.namespace}/{spec.policy_ref.name}",
        name=revision.metadata.name,
        tiers=_prices(spec.tiers),
        model=model_name(classifier.artifact.sha256) if classifier is not None else "",
    )


def tier_price(policy: PolicyFacts | None, revision: RevisionFacts | None, tier: str) -> Price | None:
    """Return what a tier costs now: by the policy's current spec, else by the revision."""
    if policy is not None and any(name == tier for name, _ in policy.tiers):
        return policy.price(tier)
    return dict(revision.tiers).get(tier) if revision is not None else None


def _rollout(status: RolloutStatus) -> RolloutFacts:
    ended = status.ended_at
    return RolloutFacts(
        id=status.id,
        incumbent=status.incumbent,
        candidate=status.candidate,
        ended_us=round(datetime.fromisoformat(ended).timestamp() * 1_000_000) if ended else None,
    )


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
