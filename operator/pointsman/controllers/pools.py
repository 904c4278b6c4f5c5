"""Reconciles TritonPools: makes what runs their Tritons, tells their agents what to hold, says how it is."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Gauge
from pydantic import ValidationError

from pointsman import install
from pointsman.api.conditions import find
from pointsman.api.pool_conditions import PoolAcceptedReason, PoolConditionType
from pointsman.api.v1alpha1.meta import API_VERSION
from pointsman.api.v1alpha1.triton_pool import TritonPool, TritonPoolStatus
from pointsman.controllers.bundles import list_of
from pointsman.controllers.objects import owners
from pointsman.kube.errors import KubeError, NotFound
from pointsman.kube.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, POOLS, SECRETS
from pointsman.kube.status import status_patch
from pointsman.pools.held import PoolView
from pointsman.pools.manifests import manifests
from pointsman.pools.models import ModelList, merged
from pointsman.pools.pods import deployment_trouble, view
from pointsman.pools.status import ACCEPTED, Seen, announcement, next_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from pointsman.api.conditions import ConditionReason
    from pointsman.clock import Clock
    from pointsman.controllers.objects import Objects, Refusal
    from pointsman.controllers.tritons import Tritons
    from pointsman.kube.client import KubeClient, Object
    from pointsman.kube.events import Recorder
    from pointsman.kube.informer import Change
    from pointsman.kube.resources import Resource
    from pointsman.pools.models import Model
    from pointsman.pools.pod_template import Images

log = logging.getLogger(__name__)

_AGAIN_S: Final = 10.0
"""Between looks: labels of namespaces change without our hearing of it."""
_REFUSED_S: Final = 30.0
_LINGER_S: Final = 20.0
"""How long a model that nobody wants stays in the list."""


class Pools:
    """One reconcile a pool."""

    kind = "pool"

    def __init__(
        self,
        client: KubeClient,
        objects: Objects,
        images: Images,
        tritons: Tritons,
        *,
        complete: Callable[[], bool],
        recorder: Recorder,
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        """`complete`: whether every policy has said what it wants, so that the rest is wanted by nobody."""
        self._client = client
        self._objects = objects
        self._images = images
        self._tritons = tritons
        self._complete = complete
        self._recorder = recorder
        self._clock = clock
        self._refused: dict[str, tuple[datetime, str, list[Refusal]]] = {}
        """By pool: when the API server refused something, of which object's version, and its words."""
        self._unwanted: dict[str, dict[str, datetime]] = {}
        """By pool and digest: since when nobody has wanted a model that is in the list."""
        self._ready = Gauge(
            "pointsman_pool_ready",
            "1 while the TritonPool's condition Ready is True.",
            ["pool"],
            registry=registry,
        )
        self._tritons_ready = Gauge(
            "pointsman_pool_ready_replicas", "Tritons that requests reach.", ["pool"], registry=registry
        )

    def first(self) -> Iterable[str]:
        """Return what to look at even if nothing ever changes: pools that are named and not there."""
        return self._tritons.pools()

    def concerned(self, resource: Resource, change: Change) -> Iterable[str]:
        """Return the pools that a change is about."""
        name = change.key.partition("/")[2]
        if resource is POOLS:
            return [name]
        if resource is not SECRETS:
            return owners(change, install.LABEL_POOL)
        pools = (str(found["metadata"]["name"]) for found in self._objects.all(POOLS))
        return [pool for pool in pools if name == _certificate(pool)]

    async def reconcile(self, name: str) -> float | None:
        """Make one pool be as its spec says, and its status say how it is."""
        raw = self._objects.get(POOLS, name)
        self._follow_agents()
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self._forget(name)
            return None  # what was made for it goes with it: Kubernetes collects it
        try:
            pool = TritonPool.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            words = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
            seen = self._view(name, None, {}, "")
            await self._tell(raw, (PoolAcceptedReason.INVALID_SPEC, words), seen, ())
            return None
        barred = await self._barred(pool)
        models = self._models(name, frozenset(barred))
        refusals, waits = await self._settle(raw, pool, models)
        seen = self._view(name, pool, barred, waits)
        self._tritons.show(seen)
        if not _unasked(seen):  # right after our start: what is not known yet is no news
            await self._tell(raw, _accepted(refusals), seen, models.models)
        return _AGAIN_S

    # -- what it shall be ------------------------------------------------------------------------------------

    async def _barred(self, pool: TritonPool) -> dict[str, str]:
        """Return the namespaces whose policies name the pool and may not use it, and why."""
        allowed = pool.spec.allowed_namespaces
        if allowed is None:
            return {}
        found = {}
        for namespace in sorted(
            {key.partition("/")[0] for key in self._tritons.policies(pool.metadata.name)}
        ):
            labels = await self._labels(namespace) if allowed.from_ == "Selector" else {}
            if not allowed.allow(pool.metadata.namespace, namespace, labels):
                found[namespace] = (
                    f"its spec.allowedNamespaces leave namespace {namespace} out; name another pool, or ask "
                    "for the namespace to be let in"
                )
        return found

    async def _labels(self, namespace: str) -> dict[str, str]:
        try:
            found = await self._client.get(NAMESPACES, namespace)
        except KubeError as error:
            log.warning("labels of namespace %s: %s", namespace, error)
            return {}
        return dict(found["metadata"].get("labels") or {})

    def _models(self, name: str, barred: frozenset[str]) -> ModelList:
        """Return the list that the pool's ConfigMap shall hold."""
        config_map = self._objects.get(CONFIG_MAPS, install.pool_models(name))
        present = (list_of(config_map) if config_map is not None else None) or ModelList()
        wanted = self._tritons.models(name, barred)
        if not self._complete():
            wanted = merged(present.models, wanted)
        else:
            wanted = self._lingering(name, present, wanted)
        return present if wanted == present.models else ModelList(wanted, present.revision + 1)

    def _lingering(self, name: str, present: ModelList, wanted: tuple[Model, ...]) -> tuple[Model, ...]:
        """Add what has not been wanted for a moment only: a bundle that is fetched anew after our start."""
        now, known = self._clock(), {model.sha256 for model in wanted}
        unwanted = [model for model in present.models if model.sha256 not in known]
        before = self._unwanted.get(name, {})
        since = self._unwanted[name] = {model.sha256: before.get(model.sha256, now) for model in unwanted}
        stay = [m for m in unwanted if (now - since[m.sha256]).total_seconds() < _LINGER_S]
        return tuple(sorted((*wanted, *stay), key=lambda model: model.sha256))

    async def _settle(self, raw: Object, pool: TritonPool, models: ModelList) -> tuple[list[Refusal], str]:
        """Make what the pool needs; what was refused is tried again after a while, or once it changes."""
        name, version = pool.metadata.name, f"{raw['metadata'].get('generation')} {models.version}"
        before = self._refused.get(name)
        if before and before[1] == version and (self._clock() - before[0]).total_seconds() < _REFUSED_S:
            return before[2], ""
        wanted, waits = manifests(pool, self._images, models), ""
        missing = self._objects.get(SECRETS, _certificate(name)) is None
        if missing and self._objects.get(DEPLOYMENTS, install.pool_name(name)) is None:
            # pods that wait for a Secret are tried by kubelet ever more rarely: the Secret comes first
            wanted = [manifest for manifest in wanted if manifest["kind"] != DEPLOYMENTS.kind]
            waits = f"its pods wait for Secret {_certificate(name)} (kubernetes.io/tls with ca.crt)"
        refusals = await self._objects.settle(wanted, install.LABEL_POOL, name)
        self._refused.pop(name, None)
        if refusals:
            self._refused[name] = (self._clock(), version, refusals)
        return refusals, waits

    # -- how it is -------------------------------------------------------------------------------------------

    def _follow_agents(self) -> None:
        ended = {"Succeeded", "Failed"}  # their addresses may be somebody else's by now
        pods = [
            pod
            for pod in self._objects.all(PODS)
            if _pool_of(pod) and (pod.get("status") or {}).get("phase") not in ended
        ]
        ips = {
            str(pod["metadata"]["name"]): str((pod.get("status") or {}).get("podIP") or "") for pod in pods
        }
        self._tritons.agents.follow(ips)

    def _view(self, name: str, pool: TritonPool | None, barred: dict[str, str], waits: str) -> PoolView:
        now = self._clock()
        pods = tuple(view(pod, now) for pod in self._objects.of(PODS, install.LABEL_POOL, name))
        names, agents = {pod.name for pod in pods}, self._tritons.agents
        deployment = self._objects.get(DEPLOYMENTS, install.pool_name(name))
        return PoolView(
            name=name,
            pool=pool,
            pods=pods,
            trouble=deployment_trouble(deployment, now),
            states={pod: state for pod, state in agents.states.items() if pod in names},
            silent={pod: words for pod, words in agents.silent.items() if pod in names},
            waits=waits,
            refused=barred,
        )

    def _forget(self, name: str) -> None:
        self._tritons.show(PoolView(name, None))
        self._refused.pop(name, None)
        self._unwanted.pop(name, None)
        for gauge in (self._ready, self._tritons_ready):
            with suppress(KeyError):
                gauge.remove(name)

    async def _tell(
        self, raw: Object, accepted: tuple[ConditionReason, str], seen: PoolView, models: tuple[Model, ...]
    ) -> None:
        """Write the status if it changed; then events and metrics."""
        metadata = raw["metadata"]
        name, namespace = str(metadata["name"]), str(metadata["namespace"])
        old = _status(raw)
        deployment = self._objects.get(DEPLOYMENTS, install.pool_name(name))
        new = next_status(
            Seen(
                namespace=namespace,
                generation=int(metadata.get("generation", 0)),
                status=old,
                accepted=accepted,
                view=seen,
                models=models,
                replicas=int((deployment or {}).get("spec", {}).get("replicas") or 0),
                policies=len(self._tritons.policies(name)) if self._complete() else old.policies,
            ),
            self._clock(),
        )
        patch = status_patch(raw.get("status") or {}, new.to_kube())
        if patch:
            with suppress(NotFound):  # deleted meanwhile
                written = await self._client.patch_status(
                    POOLS, name, namespace, patch, resource_version=metadata["resourceVersion"]
                )
                self._objects.note(POOLS, written)
            self._announce(metadata, old, new)
        ready = find(new.conditions, PoolConditionType.READY)
        self._ready.labels(name).set(1 if ready is not None and ready.status == "True" else 0)
        self._tritons_ready.labels(name).set(new.ready_replicas)

    def _announce(self, metadata: Any, old: TritonPoolStatus, new: TritonPoolStatus) -> None:
        told = announcement(old, new)
        if told is None:
            return
        well, reason, words = told
        regarding = {
            "apiVersion": API_VERSION,
            "kind": TritonPool.KIND,
            **{key: metadata[key] for key in ("name", "namespace", "uid")},
        }
        kind: Any = "Normal" if well else "Warning"
        self._recorder.record(regarding, kind=kind, reason=reason, action="Reconcile", note=words)


def _certificate(pool: str) -> str:
    return install.certificate_secret(install.pool_name(pool))


def _pool_of(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(install.LABEL_POOL) or "")


def _unasked(seen: PoolView) -> bool:
    """Tell whether there is an agent of which we have not heard, neither that it is silent."""
    known = seen.states.keys() | seen.silent.keys()
    return any(pod.ip and pod.name not in known for pod in seen.living)


def _accepted(refusals: Sequence[Refusal]) -> tuple[ConditionReason, str]:
    for refusal in refusals:
        reason = PoolAcceptedReason.QUOTA_EXCEEDED if refusal.quota else PoolAcceptedReason.REFUSED
        return reason, f"{refusal.what}: {refusal.words}"
    return ACCEPTED


def _status(raw: Object) -> TritonPoolStatus:
    """Return the status as it is; an empty one where it cannot be read."""
    try:
        return TritonPoolStatus.model_validate(raw.get("status") or {})
    except ValidationError:
        return TritonPoolStatus()
