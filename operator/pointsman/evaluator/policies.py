"""The policies and revisions as the API server has them now, kept current by informers. Read-only."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.contract import ALWAYS_STRONG
from pointsman.evaluator.prices import PolicyFacts, RevisionFacts, facts_of, facts_of_revision
from pointsman.kube.informer import informers
from pointsman.kube.resources import POLICIES, REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from pointsman.evaluator.prices import RolloutFacts
    from pointsman.kube.client import KubeClient
    from pointsman.kube.informer import Change

log = logging.getLogger(__name__)

T = TypeVar("T")


class Policies:
    """What the evaluator knows of policies. `synced` is set once both kinds were listed, and stays set."""

    def __init__(self) -> None:
        self._policies: dict[str, PolicyFacts] = {}
        self._revisions: dict[tuple[str, str], RevisionFacts] = {}
        self._objects: dict[str, RoutingPolicy] = {}
        self._revision_objects: dict[tuple[str, str], RoutingPolicyRevision] = {}
        self._by_object: dict[str, tuple[str, str]] = {}
        self._changed: set[str] = set()
        self.synced = asyncio.Event()

    def policy(self, key: str) -> PolicyFacts | None:
        """Return the policy `namespace/name`."""
        return self._policies.get(key)

    def revision(self, policy: str, name: str) -> RevisionFacts | None:
        """Return a policy's revision."""
        return self._revisions.get((policy, name))

    def object(self, key: str) -> RoutingPolicy | None:
        """Return the policy `namespace/name` as it was last read."""
        return self._objects.get(key)

    def revision_object(self, policy: str, name: str) -> RoutingPolicyRevision | None:
        """Return a policy's revision as it was last read."""
        return self._revision_objects.get((policy, name))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every policy, as `namespace/name`."""
        return tuple(self._policies)

    @property
    def live(self) -> Mapping[str, RolloutFacts]:
        """The rollouts under way, by policy."""
        return {key: facts.live for key, facts in self._policies.items() if facts.live is not None}

    @property
    def ended(self) -> Mapping[tuple[str, str], int]:
        """When the last rollouts of policies without a live one ended: (policy, id) → microseconds."""
        return {
            (key, rollout.id): rollout.ended_us
            for key, facts in self._policies.items()
            if (rollout := facts.rollout) is not None and rollout.ended_us is not None
        }

    @property
    def retention(self) -> Mapping[str, int]:
        """Seconds for which each policy keeps text; one that keeps none is not here."""
        return {key: facts.capture.retention_s for key, facts in self._policies.items() if facts.capture}

    @property
    def alive(self) -> Mapping[str, frozenset[str]]:
        """Each policy's revisions, always-strong included."""
        names: dict[str, set[str]] = {key: {ALWAYS_STRONG} for key in self._policies}
        for policy, revision in self._revisions:
            if policy in names:
                names[policy].add(revision)
        return {key: frozenset(found) for key, found in names.items()}

    def take_changed(self) -> frozenset[str]:
        """Return the policies of which something has changed since this was asked last."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    def note_changed(self, keys: Iterable[str]) -> None:
        """Take policies for changed: what was made of their last change came to nothing."""
        self._changed.update(keys)

    def revision_objects(self, policies: Container[str]) -> Iterator[tuple[str, RoutingPolicyRevision]]:
        """Yield the revisions of some policies, with each its policy."""
        for (policy, _), revision in self._revision_objects.items():
            if policy in policies:
                yield policy, revision

    def put_policy(self, key: str, obj: dict[str, Any] | None) -> None:
        """Take a policy's new state in; None: it is gone. One that cannot be read leaves the last state."""
        self._changed.add(key)
        if obj is None:
            self._policies.pop(key, None)
            self._objects.pop(key, None)
            return
        read = _read(_policy, key, obj)
        if read is not None:
            self._objects[key], self._policies[key] = read

    def put_revision(self, key: str, obj: dict[str, Any] | None) -> None:
        """Take a revision's new state in; None: it is gone."""
        known = self._by_object.pop(key, None)
        if known is not None:
            self._revisions.pop(known, None)
            self._revision_objects.pop(known, None)
        read = _read(_revision, key, obj) if obj is not None else None
        if read is not None:
            revision, facts = read
            self._by_object[key] = name = (facts.policy, facts.name)
            self._changed.add(facts.policy)
            self._revisions[name] = facts
            self._revision_objects[name] = revision


async def follow(policies: Policies, client: KubeClient, namespaces: Sequence[str] = ()) -> None:
    """Keep `policies` current until cancelled: those of these namespaces, or all."""

    def policy_changed(change: Change) -> None:
        policies.put_policy(change.key, change.new)

    def revision_changed(change: Change) -> None:
        policies.put_revision(change.key, change.new)

    caches = [
        *informers(client, POLICIES, namespaces, policy_changed),
        *informers(client, REVISIONS, namespaces, revision_changed),
    ]
    async with asyncio.TaskGroup() as group:
        for informer in caches:
            group.create_task(informer.run())
        for informer in caches:
            await informer.synced.wait()
        policies.synced.set()


def _policy(obj: dict[str, Any]) -> tuple[RoutingPolicy, PolicyFacts]:
    policy = RoutingPolicy.model_validate(obj)
    return policy, facts_of(policy)


def _revision(obj: dict[str, Any]) -> tuple[RoutingPolicyRevision, RevisionFacts]:
    revision = RoutingPolicyRevision.model_validate(obj)
    return revision, facts_of_revision(revision)


def _read(read: Callable[[dict[str, Any]], T], key: str, obj: dict[str, Any]) -> T | None:
    try:
        return read(obj)
    except ValueError as error:  # pydantic's is one
        log.warning("%s is not understood, and kept as it was: %s", key, error)
        return None
