"""Which models must be on which Triton for a policy's sake: what is loaded, healed, and not swept. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pointsman.rollout.readiness import bundle_mismatch

if TYPE_CHECKING:
    from pointsman.rollout.observation import Classifier, Observation, Source


@dataclass(frozen=True, slots=True)
class Want:
    """A bundle that must be loaded on a Triton server, or on every one of a TritonPool."""

    url: str
    """`http://HOST:PORT`, or `pool://NAME`."""
    source: Source
    proven: bool
    """It has served before: that the server calls it ready is enough. Otherwise it is probed first."""
    traffic: bool = False
    """Requests are classified by it now: a new Triton takes none before it holds it."""


def wants(o: Observation) -> frozenset[Want]:
    """Return what is wanted loaded: the stable classifier, warm ones, and the desired one once it fits.

    At most one for each server and digest: revisions that share a bundle share the model. A revision that
    failed is not loaded, unless somebody says Retry.
    """
    routed = _routed(o)
    return frozenset(
        replace(want, traffic=True) if want.source.sha256 in routed else want for want in _wanted(o)
    )


def _routed(o: Observation) -> frozenset[str]:
    """Return the digests of the classifiers that requests are sent to now."""
    arms = {share.revision for share in o.policy.status.traffic if share.weight_permille > 0}
    classifiers = (kept.spec.strategy.classifier for kept in o.kept if kept.name in arms)
    return frozenset(classifier.artifact.sha256 for classifier in classifiers if classifier is not None)


def _wanted(o: Observation) -> frozenset[Want]:
    standing = _of(o.stable_classifier, proven=True)
    for warm in o.warm_classifiers:
        standing |= _of(warm, proven=True)
    if o.promoted or _tried(o):
        return standing | _of(o.classifier, proven=True)
    if o.barred is not None or o.refusal is not None:
        return standing
    if o.classifier is None or o.classifier.artifact.bundle is None:
        return standing
    if bundle_mismatch(o.policy.spec, o.classifier.artifact.bundle) is not None:
        return standing
    proven = {(want.url, want.source.sha256) for want in standing}
    return standing | {
        want for want in _of(o.classifier, proven=False) if (want.url, want.source.sha256) not in proven
    }


def _tried(o: Observation) -> bool:
    """Tell whether the desired revision is a live candidate that was loaded once: it stays loaded."""
    live = o.live
    return live is not None and live.candidate == o.desired and any(s.name != "Load" for s in live.steps)


def _of(classifier: Classifier | None, *, proven: bool) -> frozenset[Want]:
    if classifier is None:
        return frozenset()
    replicas = (*classifier.replicas, *classifier.elsewhere)
    return frozenset(Want(replica.url, classifier.source, proven) for replica in replicas)
