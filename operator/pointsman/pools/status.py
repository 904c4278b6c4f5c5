"""The status of a TritonPool, from its pods and what their agents say. Pure; the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman import install
from pointsman.api.conditions import condition, find, set_condition, with_stalled
from pointsman.api.pool_conditions import (
    POOL_REASONS,
    PoolAcceptedReason,
    PoolAvailableReason,
    PoolConditionType,
    PoolReadyReason,
)
from pointsman.api.v1alpha1.triton_pool import TritonPoolStatus
from pointsman.pools.held import pool_trouble, starting
from pointsman.rollout.observation import Phase

if TYPE_CHECKING:
    from datetime import datetime

    from pointsman.api.conditions import ConditionReason
    from pointsman.pools.held import PoolView
    from pointsman.pools.models import Model

    Finding = tuple[ConditionReason, str]
    """A reason and its words; "" for the reason's own sentence."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a pool."""

    namespace: str
    generation: int
    status: TritonPoolStatus
    accepted: Finding
    view: PoolView
    models: tuple[Model, ...]
    """What its Tritons shall hold."""
    replicas: int
    """How many Tritons there shall be."""
    policies: int


def next_status(seen: Seen, now: datetime) -> TritonPoolStatus:
    """Return the status that says what is seen; equal to the present one if nothing changed."""
    causes = [seen.accepted, _available(seen.view)]
    conditions = list(seen.status.conditions)
    for reason, words in causes:
        conditions = set_condition(conditions, condition(reason, words, seen.generation, now), now)
    cause = next((found for found in causes if found[0].status != "True"), _whole(seen))
    told = condition(*cause, seen.generation, now)
    ready = told.model_copy(update={"type": PoolConditionType.READY.value})
    conditions = with_stalled(set_condition(conditions, ready, now), seen.generation, now, POOL_REASONS)
    return TritonPoolStatus(
        observed_generation=seen.generation,
        conditions=conditions,
        address=install.service_host(install.pool_name(seen.view.name), seen.namespace),
        replicas=seen.replicas,
        ready_replicas=len(seen.view.serving),
        models=len(seen.models),
        policies=seen.policies,
    )


def announcement(old: TritonPoolStatus, new: TritonPoolStatus) -> tuple[bool, str, str] | None:
    """Return what to tell people of a change: (is it well?, reason, words); None: nothing new."""
    before = find(old.conditions, PoolConditionType.READY)
    after = find(new.conditions, PoolConditionType.READY)
    if after is None or (before is not None and before.reason == after.reason):
        return None
    return after.status == "True", after.reason, after.message


ACCEPTED: Finding = (PoolAcceptedReason.ACCEPTED, "")


def _available(view: PoolView) -> Finding:
    if view.serving:
        return PoolAvailableReason.AVAILABLE, ""
    trouble = pool_trouble(view)
    if trouble is None:
        return PoolAvailableReason.STARTING, starting(view)
    reasons = (reason for reason in PoolAvailableReason if reason.value == trouble.reason.value)
    return next(reasons, PoolAvailableReason.STARTING), trouble.message


def _whole(seen: Seen) -> Finding:
    """Return whether nothing is missing: enough pods, each with every model."""
    view = seen.view
    wanted = {model.sha256 for model in seen.models}
    for pod in view.serving:
        for model in view.states[pod.name].models if pod.name in view.states else ():
            if model.phase == Phase.FAILED and model.sha256 in wanted:
                words = f"{pod.name} cannot load pm-{model.sha256[:12]}…: {model.message}"
                return PoolReadyReason.MODEL_FAILED, words
    if len(view.serving) < seen.replicas:
        words, trouble = f"{len(view.serving)} of {seen.replicas} Tritons are ready", pool_trouble(view)
        return PoolReadyReason.SCALING, f"{words}; {trouble.message}" if trouble else words
    return PoolReadyReason.READY, ""
