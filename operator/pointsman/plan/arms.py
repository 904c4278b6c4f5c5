"""One revision → the arm that serves it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pointsman import install
from pointsman.api.v1alpha1.meta import seconds
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.types import ArmPlan, ClassifierPlan, Endpoint, SecretName, TierPlan, TritonPlan
from pointsman.pools import place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.api.v1alpha1.strategy import Classifier
    from pointsman.api.v1alpha1.tiers import Tier

_IDLE: Final = "60s"
_TOTAL: Final = "10m"
_DEADLINE: Final = "50ms"
_PORTS: Final = {"http": 80, "https": 443}


class PlanError(Exception):
    """A policy that cannot be planned as it stands; the text names the field and the remedy."""


def always_strong_arm(policy: RoutingPolicy, weight_permille: int) -> ArmPlan:
    """Return the built-in arm: the last tier of the policy's current spec, and nothing else."""
    strong = tier_plan(policy.spec.tiers[-1], policy)
    return ArmPlan(revision=ALWAYS_STRONG, weight_permille=weight_permille, tiers=(strong,))


def revision_arm(
    policy: RoutingPolicy,
    revision: RoutingPolicyRevision,
    weight_permille: int,
    system_namespace: str = install.SYSTEM_NAMESPACE,
) -> ArmPlan:
    """Return a revision's arm: its own tiers and rules, with the policy's current keys and Triton.

    `system_namespace` is where the pools of managed Tritons lie.
    """
    spec = revision.spec
    tiers = tuple(tier_plan(tier, policy) for tier in spec.tiers)
    names = {tier.name for tier in tiers}
    classifier, pinned = None, None
    if spec.strategy.classifier is not None:
        triton = _triton(policy, revision, system_namespace)
        classifier = _classifier(spec.strategy.classifier, triton)
        _known("perIntent", (tier for _, tier in classifier.per_intent), names)
        _known("thresholds", (tier for tier, _ in classifier.thresholds), names)
        order = {tier.name: i for i, tier in enumerate(tiers)}
        ordered = tuple(sorted(classifier.thresholds, key=lambda t: order[t[0]]))
        classifier = ClassifierPlan(
            model=classifier.model,
            triton=classifier.triton,
            deadline_ms=classifier.deadline_ms,
            thresholds=ordered,
            per_intent=classifier.per_intent,
        )
    elif spec.strategy.pinned is not None:
        pinned = spec.strategy.pinned.tier
        _known("pinned", (pinned,), names)
    return ArmPlan(
        revision=revision.metadata.name,
        weight_permille=weight_permille,
        tiers=tiers,
        classifier=classifier,
        pinned=pinned,
    )


def tier_plan(tier: Tier, policy: RoutingPolicy) -> TierPlan:
    """Return a tier as it is served; its key is the policy's current one where it still has that tier."""
    current = next((t for t in policy.spec.tiers if t.name == tier.name), tier)
    endpoints = tuple(_endpoint(e.url, tier.name) for e in tier.endpoints)
    for what in ("scheme", "path_prefix"):
        if len({getattr(e, what) for e in endpoints}) > 1:
            raise PlanError(
                f"tiers[{tier.name}].endpoints: all must have the same scheme and path; "
                "put the others into tiers of their own"
            )
    ref = current.api_key_ref
    timeouts = tier.timeouts
    return TierPlan(
        name=tier.name,
        endpoints=endpoints,
        model=tier.model,
        api_key=SecretName(policy.metadata.namespace, ref.name, ref.key) if ref is not None else None,
        idle_timeout_ms=_ms((timeouts.idle if timeouts else None) or _IDLE),
        total_timeout_ms=_ms((timeouts.total if timeouts else None) or _TOTAL),
        namespace=policy.metadata.namespace,
    )


def _triton(policy: RoutingPolicy, revision: RoutingPolicyRevision, system_namespace: str) -> TritonPlan:
    """Return the servers that are asked now: a new place only once it holds what traffic needs."""
    triton = place.in_force(policy, revision.spec)
    if triton is not None and triton.managed is not None:
        return TritonPlan((place.pool_address(triton.managed.pool, system_namespace),))
    if triton is not None and triton.external is not None:
        return TritonPlan(tuple(sorted(_address(url) for url in triton.external.urls)))
    words = "a Classifier needs a Triton to run on; set triton.managed: {} or triton.external.urls"
    raise PlanError(f"triton: {words}")


def _classifier(classifier: Classifier, triton: TritonPlan) -> ClassifierPlan:
    return ClassifierPlan(
        model=f"pm-{classifier.artifact.sha256}",
        triton=triton,
        deadline_ms=_ms(classifier.deadline or _DEADLINE),
        thresholds=tuple((t.tier, t.min_score_permille) for t in classifier.thresholds),
        per_intent=tuple(sorted((r.intent, r.tier) for r in classifier.per_intent)),
    )


def _endpoint(url: str, tier: str) -> Endpoint:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise PlanError(f"tiers[{tier}].endpoints: {url} has a port above 65535; correct it") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise PlanError(f"tiers[{tier}].endpoints: {url} is no http:// or https:// address; correct it")
    return Endpoint(
        scheme=parts.scheme,
        host=parts.hostname,
        port=_PORTS[parts.scheme] if port is None else port,
        path_prefix=parts.path.rstrip("/"),
    )


def _address(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise PlanError(f"triton.external.urls: {url} has a port above 65535; correct it") from None
    if not parts.hostname or port is None:
        raise PlanError(f"triton.external.urls: {url} is not http://HOST:PORT; correct it")
    return f"{parts.hostname}:{port}"


def _known(field: str, named: Iterable[str], tiers: set[str]) -> None:
    """Raise for a rule that names no tier of the revision."""
    for name in named:
        if name not in tiers:
            raise PlanError(f"strategy: {field} names tier {name}, which is not one of tiers; correct it")


def _ms(duration: str) -> int:
    return max(1, round(seconds(duration) * 1000))
