"""How a bundle's model is on a pool as a whole: what its ready pods hold, or why none is ready. Pure.

Requests reach only ready pods. So a pod that starts, ends or crashes says nothing of a model while another
one is ready: neither does it take ClassifierReady away, nor does a candidate wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.pools.place import pool_place
from pointsman.pools.state import HeldModel
from pointsman.rollout.observation import Phase, Replica

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.api.v1alpha1.triton_pool import TritonPool
    from pointsman.pools.pods import PodView, Trouble
    from pointsman.pools.state import AgentState

_WORST: Final = (Phase.FAILED, Phase.LOST, Phase.ABSENT, Phase.UNREACHABLE, Phase.UNKNOWN)
_REASONS: Final = (
    ClassifierReadyReason.OUT_OF_MEMORY,
    ClassifierReadyReason.UNSCHEDULABLE,
    ClassifierReadyReason.IMAGE_PULL_FAILED,
    ClassifierReadyReason.POD_CRASH_LOOPING,
)
"""Causes of a pod's trouble, the one to tell first first."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool, its pods, and what their agents say."""

    name: str
    pool: TritonPool | None
    pods: tuple[PodView, ...] = ()
    trouble: Trouble | None = None
    """Why no pods can be made."""
    states: Mapping[str, AgentState] = field(default_factory=dict)
    """By pod; those whose agent has answered."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """By pod: why its agent did not answer the last time."""
    waits: str = ""
    """What must come before pods can be made."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By namespace that may not use it: why."""

    @property
    def living(self) -> tuple[PodView, ...]:
        """Pods that are to stay."""
        return tuple(pod for pod in self.pods if not pod.ending)

    @property
    def serving(self) -> tuple[PodView, ...]:
        """Pods that requests reach: ready, and their agents do not say otherwise."""
        return tuple(
            pod
            for pod in self.living
            if pod.ready and (pod.name not in self.states or self.states[pod.name].ready)
        )


def held(view: PoolView, sha256: str, namespace: str) -> Replica:
    """Return how a bundle is on a pool, for a policy of a namespace."""
    place = pool_place(view.name)
    if view.pool is None:
        words = f"there is no TritonPool {view.name} where Pointsman is installed; create it, or name another"
        return Replica(place, Phase.FAILED, words, ClassifierReadyReason.POOL_NOT_FOUND)
    if namespace in view.refused:
        return Replica(place, Phase.FAILED, view.refused[namespace], ClassifierReadyReason.POOL_NOT_ALLOWED)
    if view.serving:
        return _on_serving(view, sha256)
    return _on_none(view, sha256)


def _on_serving(view: PoolView, sha256: str) -> Replica:
    """Return the worst of what the serving pods say."""
    place = pool_place(view.name)
    asked = [pod for pod in view.serving if pod.name in view.states or pod.name in view.silent]
    found = [(pod, _model(view, pod.name, sha256)) for pod in asked or view.serving]
    ready = sum(model.phase == Phase.READY for _, model in found)
    for phase in _WORST:
        pod, model = next(((p, m) for p, m in found if m.phase == phase), (None, None))
        if pod is not None and model is not None:
            words = f"ready on {ready} of {len(found)} ready Tritons; {pod.name} {_told(model)}"
            return Replica(place, phase, words, model.cause)
    return Replica(place, Phase.READY)


def _on_none(view: PoolView, sha256: str) -> Replica:
    """Return why no pod of the pool is ready."""
    place = pool_place(view.name)
    trouble = pool_trouble(view)
    if trouble is not None:
        return Replica(place, Phase.UNREACHABLE, f"no Triton is ready; {trouble.message}", trouble.reason)
    models = [(pod, _model(view, pod.name, sha256)) for pod in view.living]
    for pod, model in models:
        if model.phase == Phase.FAILED or model.cause is not None:
            words = f"no Triton is ready; {pod.name} {_told(model)}"
            return Replica(place, Phase.FAILED, words, model.cause)
    return Replica(place, Phase.UNREACHABLE, starting(view), ClassifierReadyReason.POOL_STARTING)


def pool_trouble(view: PoolView) -> Trouble | None:
    """Return what keeps the pods from being ready, the gravest cause first."""
    found = [pod.trouble for pod in view.living if pod.trouble is not None]
    return next((one for reason in _REASONS for one in found if one.reason == reason), view.trouble)


def starting(view: PoolView) -> str:
    """Say that the pool's pods start, and since when (a time, so that the words stay the same)."""
    if not view.living:
        return f"no Triton is ready; {view.waits or 'its pods are being created'}"
    eldest = min(view.living, key=lambda pod: (pod.created, pod.name))
    state = view.states.get(eldest.name)
    words = f"no Triton is ready; {eldest.name} has been starting since {eldest.created}"
    return f"{words}: {state.why}" if state is not None else f"{words} (cold start)"


def _model(view: PoolView, pod: str, sha256: str) -> HeldModel:
    state = view.states.get(pod)
    if state is None:
        silent = view.silent.get(pod)
        return HeldModel(sha256, Phase.UNREACHABLE if silent else Phase.UNKNOWN, silent or "")
    return state.model(sha256) or HeldModel(sha256, Phase.ABSENT, "its agent has not heard of the bundle yet")


def _told(model: HeldModel) -> str:
    meaning = {
        Phase.FAILED: "refused the bundle",
        Phase.LOST: "lost the bundle, which is loaded again",
        Phase.ABSENT: "is loading the bundle",
        Phase.UNREACHABLE: "has an agent that does not answer",
        Phase.UNKNOWN: "was not asked yet",
    }.get(model.phase, "holds the bundle")
    return f"{meaning}: {model.message}" if model.message else meaning
