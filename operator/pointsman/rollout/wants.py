"""Which models must be on which Triton for a policy's sake: what is loaded, healed, and not swept. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman.rollout.readiness import bundle_mismatch

if TYPE_CHECKING:
    from pointsman.rollout.observation import Classifier, Observation, Source


@dataclass(frozen=True, slots=True)
class Want:
    """A bundle that must be loaded on a Triton server."""

    url: str
    source: Source
    proven: bool
    """It has served before: that the server calls it ready is enough. Otherwise it is probed first."""


def wants(o: Observation) -> frozenset[Want]:
    """Return what the policy wants loaded: the stable classifier, and the desired one once it fits."""
    wanted = _of(o.stable_classifier, proven=True)
    if o.promoted:
        return wanted | _of(o.classifier, proven=True)
    if o.classifier is None or o.classifier.artifact.bundle is None or o.refusal is not None:
        return wanted
    if bundle_mismatch(o.policy.spec, o.classifier.artifact.bundle) is not None:
        return wanted
    return wanted | _of(o.classifier, proven=False)


def _of(classifier: Classifier | None, *, proven: bool) -> frozenset[Want]:
    if classifier is None:
        return frozenset()
    return frozenset(Want(replica.url, classifier.source, proven) for replica in classifier.replicas)
