"""Is the classifier that a policy's spec asks for ready everywhere, and if not, why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.api.conditions import ClassifierReadyReason, ConditionType, find
from pointsman.contract import ALWAYS_STRONG
from pointsman.pools import place
from pointsman.rollout.observation import Phase

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicySpec
    from pointsman.rollout.observation import Bundle, Classifier, Observation, Replica


@dataclass(frozen=True, slots=True)
class Readiness:
    """The `ClassifierReady` condition, and when what failed is tried again."""

    reason: ClassifierReadyReason
    message: str
    retry_after_s: float | None = None

    @property
    def ready(self) -> bool:
        """Tell whether the revision may take traffic."""
        return self.reason.status == "True"


def readiness(o: Observation) -> Readiness:
    """Return whether the desired revision's classifier is ready on every Triton replica."""
    if o.barred is not None:
        return _of_stable(o)
    mine = _of_desired(o)
    lost = _stable_is_lost(o)
    return Readiness(mine.reason, f"{mine.message}; {lost}", mine.retry_after_s) if lost else mine


def _of_stable(o: Observation) -> Readiness:
    """Return how what serves is, where the desired revision has failed and nobody loads its classifier."""
    if o.stable_classifier is None:
        words = f"{o.policy.status.stable_revision or ALWAYS_STRONG}, in force, asks no classifier"
        return Readiness(ClassifierReadyReason.NOT_NEEDED, words)
    worst = _worst_replica(o.stable_classifier.replicas)
    return _moving(worst, o.stable_classifier) or _loaded(o.stable_classifier)


def _of_desired(o: Observation) -> Readiness:
    if o.classifier is None:
        words = f"spec.strategy.type {o.policy.spec.strategy.type} asks no classifier"
        return Readiness(ClassifierReadyReason.NOT_NEEDED, words)
    worst = _worst_replica(o.classifier.replicas)
    if o.promoted:
        # It was checked before it took traffic; its bundle may be gone from where it came from.
        unasked = worst is not None and any(r.phase == Phase.UNKNOWN for r in o.classifier.replicas)
        return (_remembered(o) if unasked else None) or _moving(worst, o.classifier) or _loaded(o.classifier)
    # a candidate may be asked at either place, until the new one holds all that traffic needs
    return _of_candidate(o, o.classifier, worst or _worst_replica(o.classifier.elsewhere))


def _of_candidate(o: Observation, classifier: Classifier, worst: Readiness | None) -> Readiness:
    artifact = classifier.artifact
    if artifact.failure is not None:
        return Readiness(*artifact.failure, artifact.retry_after_s)
    if artifact.bundle is None:
        words = f"{classifier.source.public_uri} is being fetched and checked"
        return _remembered_trouble(o) or Readiness(ClassifierReadyReason.LOADING, words)
    mismatch = bundle_mismatch(o.policy.spec, artifact.bundle)
    if mismatch is not None:
        return Readiness(ClassifierReadyReason.BUNDLE_MISMATCH, mismatch)
    if worst is not None and any(r.phase == Phase.UNKNOWN for r in classifier.replicas):
        return _remembered_trouble(o) or worst
    return worst or _loaded(classifier)


def _remembered_trouble(o: Observation) -> Readiness | None:
    """Return what the status says is wrong with this very candidate, until it has been tried again."""
    told = find(o.policy.status.conditions, ConditionType.CLASSIFIER_READY)
    if told is None or told.observed_generation != o.policy.metadata.generation:
        return None
    remembered = _remembered(o) if o.policy.status.candidate_revision == o.desired else None
    return None if remembered is None or remembered.ready else remembered


def _remembered(o: Observation) -> Readiness | None:
    """Return what the status says: it holds until the servers have been asked, right after a start."""
    told = find(o.policy.status.conditions, ConditionType.CLASSIFIER_READY)
    reason = next((r for r in ClassifierReadyReason if told is not None and r == told.reason), None)
    return Readiness(reason, told.message) if told is not None and reason is not None else None


def bundle_mismatch(spec: RoutingPolicySpec, bundle: Bundle) -> str | None:
    """Say which field does not fit the bundle, and the remedy; None if all fits."""
    if len(bundle.tiers) != len(spec.tiers):
        return (
            f"spec.tiers: the policy has {len(spec.tiers)} tiers, the bundle at "
            f"spec.strategy.classifier.artifact scores {len(bundle.tiers)} ({', '.join(bundle.tiers)}), "
            f"by position; list {len(bundle.tiers)} tiers, or use a bundle trained for {len(spec.tiers)}"
        )
    rules = spec.strategy.classifier.per_intent if spec.strategy.classifier else []
    unknown = [rule.intent for rule in rules if rule.intent not in bundle.intents]
    if unknown:
        return (
            f"spec.strategy.classifier.perIntent: the bundle knows no {', '.join(map(repr, unknown))}; "
            f"use one of {', '.join(sorted(bundle.intents)) or '(it knows none)'}, or remove the rule"
        )
    return None


_REASONS = {
    Phase.UNREACHABLE: ClassifierReadyReason.TRITON_UNREACHABLE,
    Phase.FAILED: ClassifierReadyReason.BUNDLE_REJECTED,
    Phase.LOST: ClassifierReadyReason.RELOADING,
    Phase.ABSENT: ClassifierReadyReason.LOADING,
    Phase.UNKNOWN: ClassifierReadyReason.LOADING,
}
"""Worst first."""


def moves(classifier: Classifier | None) -> bool:
    """Tell whether a classifier can be asked at the place that the spec wants."""
    return classifier is None or _worst_replica(classifier.replicas) is None


def _moving(worst: Readiness | None, classifier: Classifier) -> Readiness | None:
    """Add to what is wrong at the place that the spec wants where requests are classified meanwhile."""
    if worst is None or not classifier.elsewhere:
        return worst
    where = ", ".join(place.shown(replica.url) for replica in classifier.elsewhere)
    return Readiness(worst.reason, f"{worst.message}; requests are classified by {where} until then")


def _worst_replica(replicas: tuple[Replica, ...]) -> Readiness | None:
    """Return why the classifier is not ready on all replicas, told by the worst kind of trouble."""
    for phase, reason in _REASONS.items():
        affected = [replica for replica in replicas if replica.phase == phase]
        if affected:
            first = affected[0]
            if place.pool_of(first.url) is not None:
                return Readiness(first.reason or reason, f"{place.shown(first.url)}: {first.message}")
            ready = sum(replica.phase == Phase.READY for replica in replicas)
            words = f"ready on {ready} of {len(replicas)} Triton replicas; {_told(first)}"
            return Readiness(first.reason or reason, words)
    return None


def _told(replica: Replica) -> str:
    meaning = {
        Phase.UNREACHABLE: "does not answer",
        Phase.FAILED: "refused the bundle",
        Phase.LOST: "lost the bundle, which is loaded again; requests go to the last tier meanwhile",
        Phase.ABSENT: "is loading the bundle",
        Phase.UNKNOWN: "was not asked yet",
    }[replica.phase]
    return f"{replica.url} {meaning}" + (f": {replica.message}" if replica.message else "")


def _loaded(classifier: Classifier) -> Readiness:
    words = f"loaded on {', '.join(place.shown(replica.url) for replica in classifier.replicas)}"
    return Readiness(ClassifierReadyReason.LOADED, words)


def _stable_is_lost(o: Observation) -> str:
    """Say that the revision in force lacks its classifier somewhere, while another one is on its way."""
    if o.stable_classifier is None:
        return ""
    worst = _worst_replica(o.stable_classifier.elsewhere or o.stable_classifier.replicas)
    return f"{o.policy.status.stable_revision}, in force: {worst.message}" if worst else ""
