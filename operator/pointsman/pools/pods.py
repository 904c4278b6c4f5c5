"""A pool's pod as the API server tells of it, and what is wrong with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.workloads.pods import Cause, of_pod, trouble

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_REASONS: Final = {
    Cause.QUOTA_EXCEEDED: ClassifierReadyReason.UNSCHEDULABLE,
    Cause.PODS_REFUSED: ClassifierReadyReason.UNSCHEDULABLE,
    Cause.UNSCHEDULABLE: ClassifierReadyReason.UNSCHEDULABLE,
    Cause.IMAGE: ClassifierReadyReason.IMAGE_PULL_FAILED,
    Cause.INIT_FAILED: ClassifierReadyReason.POD_CRASH_LOOPING,
    Cause.CRASHING: ClassifierReadyReason.POD_CRASH_LOOPING,
    Cause.CONTAINER_REFUSED: ClassifierReadyReason.POD_CRASH_LOOPING,
}
"""Of the causes that are troubles: a pod that only takes its time is told of by its agent."""
_OOM: Final = "OOMKilled"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not become ready."""

    reason: ClassifierReadyReason
    message: str


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of a pool."""

    name: str
    ip: str = ""
    ready: bool = False
    ending: bool = False
    """It was told to end, or has ended."""
    created: str = ""
    """RFC 3339."""
    trouble: Trouble | None = None


def view(pod: Mapping[str, Any], now: datetime) -> PodView:
    """Return what matters of a pod."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    ready = conditions.get("Ready", {}).get("status") == "True"
    return PodView(
        name=metadata["name"],
        ip=str(status.get("podIP") or ""),
        ready=ready,
        ending=bool(metadata.get("deletionTimestamp")) or status.get("phase") in {"Succeeded", "Failed"},
        created=str(metadata.get("creationTimestamp") or ""),
        trouble=None if ready else _of_pod(pod, now),
    )


def reduced(pod: dict[str, Any]) -> dict[str, Any]:
    """Keep of a pod what `view` reads."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    names = ("name", "namespace", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
    kept = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses")
    return {
        "metadata": {name: metadata[name] for name in names if name in metadata},
        "status": {name: status[name] for name in kept if name in status},
    }


def deployment_trouble(deployment: Mapping[str, Any] | None, now: datetime) -> Trouble | None:
    """Return why the pods of a Deployment cannot even be made: a quota, or admission."""
    found = trouble((), deployment, now)
    return Trouble(_REASONS[found.cause], found.words) if found and found.cause in _REASONS else None


def _of_pod(pod: Mapping[str, Any], now: datetime) -> Trouble | None:
    found = of_pod(pod, now)
    if found is None or found.cause not in _REASONS:
        return None
    name, words = pod["metadata"]["name"], " ".join(found.words.split())
    if _OOM in words:
        words += "; raise spec.resources.limits.memory of the pool"
        return Trouble(ClassifierReadyReason.OUT_OF_MEMORY, f"pod {name}: {words}")
    return Trouble(_REASONS[found.cause], f"pod {name}: {words}")
