"""From what was seen to an `Observation`: which revisions are the policy's, and how its classifiers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointsman.pools import place
from pointsman.rollout.observation import Classifier, Kept, Observation, Source, Stray
from pointsman.rollout.question import question
from pointsman.rollout.revisions import desired_name, revision_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.api.v1alpha1.revision import RoutingPolicyRevision, RoutingPolicyRevisionSpec
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
    from pointsman.rollout.evidence import Evidence, Question
    from pointsman.rollout.observation import Artifact, Programmed, Refusal, Replica, SeenAction


class SeenRevision(Protocol):
    """A revision that names the policy, whoever owns it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def uid(self) -> str: ...  # noqa: D102
    @property
    def created(self) -> str: ...  # noqa: D102
    @property
    def owner_uid(self) -> str:
        """Uid of the policy that controls it, or ""."""
        ...

    @property
    def revision(self) -> RoutingPolicyRevision | None:
        """None if it is unreadable."""
        ...


class World(Protocol):
    """What is known beside the API's objects. Answers at once, without I/O."""

    def artifact(self, source: Source) -> Artifact:
        """Return what is known of a bundle's source."""
        ...

    def replica(self, url: str, sha256: str) -> Replica:
        """Return what is known of a bundle's model on a Triton server."""
        ...

    def pooled(self, pool: str, source: Source) -> Replica:
        """Return what is known of a bundle's model on a TritonPool as a whole."""
        ...

    def programmed(self, policy: RoutingPolicy) -> tuple[Programmed, Refusal | None]:
        """Return what the xds servers say, and why they do not accept the policy if so."""
        ...

    def evidence(self, question: Question) -> Evidence:
        """Return what is known of the counts, from the last look at Prometheus."""
        ...

    def actions(self, policy: RoutingPolicy) -> tuple[SeenAction, ...]:
        """Return the RolloutActions that name the policy."""
        ...


def observe(policy: RoutingPolicy, revisions: Iterable[SeenRevision], world: World) -> Observation:
    """Return all that the policy's next step depends on. `revisions`: oldest first."""
    kept: list[Kept] = []
    strays: list[Stray] = []
    for seen in revisions:
        if seen.owner_uid == policy.metadata.uid and seen.revision is not None:
            found = seen.revision
            version = found.metadata.resource_version
            kept.append(Kept(seen.name, seen.uid, seen.created, found.spec, version, found.status))
        else:
            strays.append(Stray(seen.name, seen.uid))
    desired = desired_name(policy)
    programmed, refusal = world.programmed(policy)
    stable = next((k for k in kept if k.name == policy.status.stable_revision and k.name != desired), None)
    warm_names = {warm.revision for warm in policy.status.warm}
    warm = [classifier_of(policy, k.spec, world) for k in kept if k.name in warm_names]
    return Observation(
        policy=policy,
        desired=desired,
        kept=tuple(kept),
        strays=tuple(strays),
        classifier=classifier_of(policy, revision_spec(policy), world),
        stable_classifier=classifier_of(policy, stable.spec, world) if stable else None,
        programmed=programmed,
        refusal=refusal,
        warm_classifiers=tuple(classifier for classifier in warm if classifier is not None),
        evidence=world.evidence(question(policy)),
        actions=world.actions(policy),
    )


def classifier_of(policy: RoutingPolicy, spec: RoutingPolicyRevisionSpec, world: World) -> Classifier | None:
    """Return the state of the classifier that a revision needs, None if it needs none.

    Where the bundle lies and on which Tritons it must be is the policy's present word; a revision's own only
    where the policy has none any more.
    """
    if spec.strategy.classifier is None:
        return None
    artifact, current = spec.strategy.classifier.artifact, policy.spec.strategy.classifier
    if current is not None and current.artifact.sha256 == artifact.sha256:
        artifact = current.artifact
    source = Source(policy.metadata.namespace, artifact.uri, artifact.sha256)
    wanted, present = place.wanted(policy, spec), place.in_force(policy, spec)
    others = () if present == wanted else place.places(present)
    return Classifier(
        source=source,
        artifact=world.artifact(source),
        replicas=tuple(_replica(where, source, world) for where in place.places(wanted)),
        elsewhere=tuple(_replica(where, source, world) for where in others),
    )


def _replica(where: str, source: Source, world: World) -> Replica:
    pool = place.pool_of(where)
    return world.replica(where, source.sha256) if pool is None else world.pooled(pool, source)
