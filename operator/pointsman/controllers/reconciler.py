"""One level-based reconcile per policy: observe, decide, act (one step), write the status, tell people."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

from pointsman.api.v1alpha1.meta import API_VERSION
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.controllers.rollout_metrics import RolloutMetrics
from pointsman.kube.errors import Conflict, KubeError, NotFound
from pointsman.kube.resources import POLICIES
from pointsman.kube.status import status_patch
from pointsman.rollout.actions.collect_revisions import collect, prune
from pointsman.rollout.actions.freeze_revision import freeze_revision
from pointsman.rollout.actions.load_classifier import load_classifier
from pointsman.rollout.actions.record_attempt import record_attempt
from pointsman.rollout.actions.replace_stray import replace_stray
from pointsman.rollout.actions.writer import Writer
from pointsman.rollout.announce import announcements
from pointsman.rollout.decide import Action, decide, surplus
from pointsman.rollout.observation import Stray
from pointsman.rollout.observe import observe
from pointsman.rollout.record import recording
from pointsman.rollout.revisions import desired_name
from pointsman.rollout.state import next_status, unreadable_status
from pointsman.rollout.wants import wants

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pointsman.api.v1alpha1.status import RoutingPolicyStatus
    from pointsman.clock import Clock
    from pointsman.controllers.artifacts import Artifacts
    from pointsman.controllers.evidence import EvidenceReader
    from pointsman.controllers.store import Store, StoredPolicy, StoredRevision
    from pointsman.controllers.tritons import Tritons
    from pointsman.controllers.xds_watch import XdsWatch
    from pointsman.kube.client import KubeClient
    from pointsman.kube.events import Recorder
    from pointsman.rollout.evidence import Evidence, Question
    from pointsman.rollout.observation import (
        Artifact,
        Observation,
        Programmed,
        Refusal,
        Replica,
        SeenAction,
        Source,
    )
    from pointsman.rollout.record import Recording

log = logging.getLogger(__name__)

_COLLECT: Final = "collect:"
"""Prefix of queue keys of a policy's leftovers: they and its rollout do not hold each other up."""


class ReconcileMetrics:
    """Reconciles and writes."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.reconciles = Counter(
            "pointsman_operator_reconciles_total",
            "Reconciles; result is ok, conflict (observed again at once) or error (tried again later).",
            ["result"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_operator_reconcile_duration_seconds",
            "Duration of one reconcile, its writes included.",
            registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
        )
        self.writes = Counter(
            "pointsman_operator_writes_total",
            "Writes to objects of ours that the API server took.",
            ["resource"],
            registry=registry,
        )
        self.rollouts = RolloutMetrics(registry, clock)
        self.evidence_age = Histogram(
            "pointsman_operator_evidence_age_seconds",
            "Age of the evidence, from its scrape, when the status that rests on it had been written.",
            registry=registry,
            buckets=(0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60),
        )


class Seen:
    """What is known beside the API's objects, for `observe`."""

    def __init__(
        self, artifacts: Artifacts, pool: Tritons, xds: XdsWatch, store: Store, reader: EvidenceReader
    ) -> None:
        self._artifacts = artifacts
        self._pool = pool
        self._xds = xds
        self._store = store
        self._reader = reader

    def artifact(self, source: Source) -> Artifact:
        """Return what is known of a bundle's source."""
        return self._artifacts.look(source)

    def replica(self, url: str, sha256: str) -> Replica:
        """Return what is known of a bundle on a Triton server."""
        return self._pool.replica(url, sha256)

    def pooled(self, pool: str, source: Source) -> Replica:
        """Return what is known of a bundle on a TritonPool as a whole."""
        return self._pool.pooled(pool, source)

    def programmed(self, policy: RoutingPolicy) -> tuple[Programmed, Refusal | None]:
        """Return what the xds servers say."""
        return self._xds.programmed(policy)

    def evidence(self, question: Question) -> Evidence:
        """Return what Prometheus said last; asking declares the question."""
        return self._reader.evidence(question)

    def actions(self, policy: RoutingPolicy) -> tuple[SeenAction, ...]:
        """Return the policy's RolloutActions."""
        return self._store.actions(policy.key)


class Reconciler:
    """The handler of the work queue."""

    def __init__(
        self,
        *,
        client: KubeClient,
        store: Store,
        artifacts: Artifacts,
        pool: Tritons,
        xds: XdsWatch,
        reader: EvidenceReader,
        recorder: Recorder,
        clock: Clock,
        metrics: ReconcileMetrics,
        enqueue: Callable[[str], None],
    ) -> None:
        self._client = client
        self._store = store
        self._artifacts = artifacts
        self._pool = pool
        self._reader = reader
        self._xds = xds
        self._seen = Seen(artifacts, pool, xds, store, reader)
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._enqueue = enqueue
        self._writer = Writer(client, store, lambda resource: metrics.writes.labels(resource).inc())

    async def __call__(self, key: str) -> float | None:
        """Reconcile a queue key; return the seconds until the next look, None: on an event."""
        started = time.monotonic()
        result = "error"
        try:
            if key.startswith(_COLLECT):
                await self._collect(key.removeprefix(_COLLECT))
                requeue_after = None
            else:
                requeue_after = await self._reconcile(key)
            result = "ok"
        except (Conflict, NotFound) as error:
            # what we knew is old: read it anew, and decide anew at once
            log.info("%s: %s", key, error)
            await self._refresh(key.removeprefix(_COLLECT))
            result, requeue_after = "conflict", 0.0
        finally:
            self._metrics.reconciles.labels(result).inc()
            self._metrics.duration.observe(time.monotonic() - started)
        return requeue_after

    async def _reconcile(self, key: str) -> float | None:
        stored = self._store.policy(key)
        if stored is None:
            self._pool.withdraw(key)
            self._reader.withdraw(key)
            self._xds.withdraw(key)
            namespace, _, name = key.partition("/")
            self._metrics.rollouts.forget(namespace, name)
            if self._store.revisions(key):
                self._enqueue(_COLLECT + key)
            return None
        if stored.policy is None:
            # what it wants loaded is unknown: what it last wanted stays
            await self._write(stored, stored.status, unreadable_status(stored, self._clock()))
            return None
        await self._settle_actions(key, stored)
        o = observe(stored.policy, self._revisions(key, stored.policy), self._seen)
        self._pool.declare(key, wants(o))
        now = self._clock()
        if await self._record(recording(o, o.status, now), o):
            return 0.0  # an earlier process died before it could: first that, then what follows
        if o.live is not None:
            # A look at many streams is half a second of arithmetic: done beside the loop, remembered for what
            # follows, so that the times in the status are those of its write.
            await asyncio.to_thread(decide, o, now)
            now = self._clock()
        decision = decide(o, now)
        if not await self._act(decision.action, o):
            return 0.0
        if await self._write(stored, stored.policy.status, next_status(o, decision, now)):
            self._note_age(o)
        await self._record(decision.record, o)
        if o.strays or surplus(o):
            self._enqueue(_COLLECT + key)
        return decision.requeue_after

    async def _record(self, due: Recording | None, o: Observation) -> bool:
        """Write what became of an attempt into its revision, after the status: no rollback waits for that."""
        if due is None:
            return False
        try:
            await record_attempt(o.policy.metadata.namespace, due, self._writer)
        except (Conflict, NotFound):
            raise
        except KubeError as error:
            # tried again at the next look; traffic does not wait for a record
            log.error("%s: the record of %s was not written: %s", o.policy.key, due.kept.name, error)  # noqa: TRY400 - the words say it
            return False
        return True

    def _note_age(self, o: Observation) -> None:
        """Measure how old the evidence of a live rollout was when the status that rests on it was written."""
        if o.live is not None and o.evidence.trouble is None:
            self._metrics.evidence_age.observe(max(0.0, self._clock().timestamp() - o.evidence.at_s))

    async def _settle_actions(self, key: str, stored: StoredPolicy) -> None:
        """Copy to RolloutActions what the policy's status says they did, before anything more is decided."""
        waiting = {action.uid for action in self._store.actions(key) if not action.settled}
        for applied in stored.status.last_actions:
            if applied.uid in waiting:
                await self._writer.settle_action(key, applied)

    async def _act(self, action: Action, o: Observation) -> bool:
        """Do one step; False: the policy is not who we took it for, so observe again."""
        match action:
            case Action.FREEZE_REVISION:
                await freeze_revision(o, self._writer)
            case Action.REPLACE_STRAY:
                # never delete on hearsay: it could be the new policy that we have not heard of
                await self._refresh(o.policy.key)
                stored = self._store.policy(o.policy.key)
                if stored is None or stored.uid != o.policy.metadata.uid:
                    return False
                await replace_stray(o, self._writer)
            case Action.LOAD_CLASSIFIER:
                load_classifier(o, self._artifacts.request)
            case Action.PROMOTE | Action.MOVE | Action.NOTHING:
                pass  # the status write is all there is to it
        return True

    async def _write(self, stored: StoredPolicy, old: RoutingPolicyStatus, new: RoutingPolicyStatus) -> bool:
        """Write the status if it changed, on the version that it was decided on; then tell people."""
        patch = status_patch(old.to_kube(), new.to_kube())
        if not patch:
            self._metrics.rollouts.show(stored.namespace, stored.name, old)
            return False
        await self._writer.patch_status(stored.namespace, stored.name, patch, stored.resource_version)
        self._metrics.rollouts.show(stored.namespace, stored.name, new)
        self._metrics.rollouts.count(stored.namespace, stored.name, old, new)
        regarding = {
            "apiVersion": API_VERSION,
            "kind": RoutingPolicy.KIND,
            "name": stored.name,
            "namespace": stored.namespace,
            "uid": stored.uid,
        }
        for told in announcements(old, new):
            self._recorder.record(
                regarding, kind=told.kind, reason=told.reason, action=told.action, note=told.note
            )
        return True

    async def _collect(self, key: str) -> None:
        """Delete what nothing needs, once the API server itself has said who is there."""
        namespace, _, _ = key.partition("/")
        await self._refresh(key)
        stored = self._store.policy(key)
        if stored is not None and stored.policy is None:
            return
        if stored is None or stored.policy is None:
            leftovers = [Stray(seen.name, seen.uid) for seen in self._store.revisions(key)]
            await collect(namespace, leftovers, self._writer)
            return
        o = observe(stored.policy, self._revisions(key, stored.policy), self._seen)
        # the desired name is made room for by the rollout itself
        strays = [stray for stray in o.strays if stray.name not in o.in_force]
        await collect(namespace, strays, self._writer)
        await prune(o, self._writer)

    def _revisions(self, key: str, policy: RoutingPolicy) -> tuple[StoredRevision, ...]:
        """Return the policy's revisions, and whatever else has the name that the next one needs."""
        found = self._store.revisions(key)
        taken = self._store.revision_named(policy.metadata.namespace, desired_name(policy))
        return found if taken is None or taken in found else (*found, taken)

    async def _refresh(self, key: str) -> None:
        """Read the policy from the API server."""
        namespace, _, name = key.partition("/")
        try:
            self._store.put_policy(await self._client.get(POLICIES, name, namespace))
        except NotFound:
            self._store.forget_policy(key)


def tell_failure(key: str, error: Exception, errors: int, delay_s: float) -> None:
    """Log a reconcile that raised (the queue's `on_error`)."""
    words = {"key": key, "attempt": errors, "retry_in_s": round(delay_s, 2)}
    if isinstance(error, KubeError):
        log.error("reconcile failed: %s", error, extra=words)
    else:
        log.error("reconcile failed", extra=words, exc_info=error)
