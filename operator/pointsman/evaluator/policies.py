"""The policies and revisions as the API server has them now, kept current by informers. Read-only."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

from pointsman.contract import ALWAYS_STRONG
from pointsman.evaluator.prices import PolicyFacts, RevisionFacts, policy_facts, revision_facts
from pointsman.kube.client import KubeClient
from pointsman.kube.informer import Informer
from pointsman.kube.metrics import KubeMetrics
from pointsman.kube.resources import POLICIES, REVISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from prometheus_client import CollectorRegistry

    from pointsman.kube.informer import Change

log = logging.getLogger(__name__)

T = TypeVar("T")


class Policies:
    """What the evaluator knows of policies. `synced` is set once both kinds were listed, and stays set."""

    def __init__(self) -> None:
        self._policies: dict[str, PolicyFacts] = {}
        self._revisions: dict[tuple[str, str], RevisionFacts] = {}
        self._by_object: dict[str, tuple[str, str]] = {}
        self.synced = asyncio.Event()

    def policy(self, key: str) -> PolicyFacts | None:
        """Return the policy `namespace/name`."""
        return self._policies.get(key)

    def revision(self, policy: str, name: str) -> RevisionFacts | None:
        """Return a policy's revision."""
        return self._revisions.get((policy, name))

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

    def put_policy(self, key: str, obj: dict[str, Any] | None) -> None:
        """Take a policy's new state in; None: it is gone. One that cannot be read leaves the last state."""
        if obj is None:
            self._policies.pop(key, None)
            return
        facts = _read(policy_facts, key, obj)
        if facts is not None:
            self._policies[key] = facts

    def put_revision(self, key: str, obj: dict[str, Any] | None) -> None:
        """Take a revision's new state in; None: it is gone."""
        known = self._by_object.pop(key, None)
        if known is not None:
            self._revisions.pop(known, None)
        facts = _read(revision_facts, key, obj) if obj is not None else None
        if facts is not None:
            self._by_object[key] = (facts.policy, facts.name)
            self._revisions[facts.policy, facts.name] = facts


async def follow(policies: Policies, kubeconfig: str | None, registry: CollectorRegistry) -> None:
    """Keep `policies` current until cancelled. `kubeconfig` None: the cluster that this pod runs in."""

    def policy_changed(change: Change) -> None:
        policies.put_policy(change.key, change.new)

    def revision_changed(change: Change) -> None:
        policies.put_revision(change.key, change.new)

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.open(kubeconfig, KubeMetrics(registry)))
        informers = [
            Informer(client, POLICIES, on_change=policy_changed),
            Informer(client, REVISIONS, on_change=revision_changed),
        ]
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            for informer in informers:
                await informer.synced.wait()
            policies.synced.set()


def _read(read: Callable[[dict[str, Any]], T], key: str, obj: dict[str, Any]) -> T | None:
    try:
        return read(obj)
    except ValueError as error:  # pydantic's is one
        log.warning("%s is not understood, and kept as it was: %s", key, error)
        return None
