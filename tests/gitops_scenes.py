"""Policies at every turn of a rollout, as the operator's own state machine leaves them; gateways and pools.

`python tests/gitops_scenes.py` writes them anew into the test data of Argo CD's health checks and actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from gitops_kit import CUSTOMIZATIONS
from pointsman.api.conditions import (
    REASONS,
    AcceptedReason,
    ClassifierReadyReason,
    ConditionReason,
    ProgrammedReason,
    ProgressingReason,
    Reasons,
    condition,
    named,
    summed_up,
    with_stalled,
)
from pointsman.api.gateway_conditions import (
    GATEWAY_REASONS,
    AvailableReason,
    CertifiedReason,
    GatewayAcceptedReason,
)
from pointsman.api.pool_conditions import (
    POOL_REASONS,
    PoolAcceptedReason,
    PoolAvailableReason,
    PoolReadyReason,
)
from pointsman.api.v1alpha1.meta import UNSEEN, Condition
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.rollout.evidence import Trouble
from pointsman.rollout.revisions import desired_name
from rollout_world import RUBRIC, Quality, World, policy

Object = dict[str, Any]
NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NO_SHADOW: Final[dict[str, Any]] = {"shadow": {"mode": "Off"}}
NEW: Final = {"observedGeneration": UNSEEN}
"""The status that the API server shows of an object that nobody has looked at."""
BAD: Final = Quality({(RUBRIC, ""): 0.3}, overall=0.3)
_METADATA: Final = {"name": "default", "namespace": "pointsman-system", "uid": "u-2", "generation": 3}


def _stable() -> World:
    world = World(policy(rollout={"mode": "Direct"}))
    world.tick(60.0)
    return world


def _changed(quality: Quality | None = None, **rollout: Any) -> World:
    """Return a world whose policy has just been changed."""
    world = _stable()
    changed = policy("better", rollout=rollout)
    world.qualities[desired_name(changed)] = quality or Quality()
    world.apply(changed)
    return world


def _reached(world: World, step: str, limit_s: float = 900) -> World:
    assert world.run(lambda w: w.step.startswith(step), limit_s, 1.0), f"{step} is not reached: {world.step}"
    return world


def _acted(world: World, action: str) -> World:
    world.tick()
    world.act(action, reason="not today")
    world.tick()
    return world


def _suspended() -> World:
    world = _reached(_changed(**NO_SHADOW), "Canary Running")
    body = world.policy.spec.model_copy(update={"suspend": True})
    world.apply(world.policy.model_copy(update={"spec": body}))
    world.tick()
    return world


def _blind() -> World:
    world = _reached(_changed(**NO_SHADOW), "Canary Running")
    world.trouble = next(iter(Trouble))
    world.tick(10.0)
    return world


def _inconclusive() -> World:
    canary = {"steps": [{"weightPermille": 250, "minDuration": "15s"}], "maxDuration": "40s"}
    world = _changed(shadow={"mode": "Off"}, canary=canary, onInconclusive="Pause")
    _reached(world, "Canary Running")
    world.rate = 0.2
    return _reached(world, "Canary Inconclusive")


def _waiting() -> World:
    return _reached(_changed(shadow={"mode": "Off"}, approval=["Promotion"]), "Promotion AwaitingApproval")


def _retried() -> World:
    world = _reached(_changed(BAD, **NO_SHADOW), "RolledBack")
    world.qualities.clear()
    world.act("Retry")
    world.tick()
    return world


def _again() -> World:
    """Return a world with a spec that nobody has looked at."""
    world = _stable()
    world.apply(policy("better"))
    return world


WORLDS: Final[Mapping[str, Callable[[], World]]] = {
    "healthy_promoted": _stable,
    "progressing_new_generation": _again,
    "progressing_noise": lambda: _reached(_changed(**NO_SHADOW), "Noise"),
    "progressing_shadow": lambda: _reached(_changed(), "Shadow"),
    "progressing_canary": lambda: _reached(_changed(**NO_SHADOW), "Canary Running"),
    "progressing_evidence_missing": _blind,
    "progressing_second_attempt": _retried,
    "suspended_awaiting_approval": _waiting,
    "suspended_inconclusive": _inconclusive,
    "suspended_by_the_spec": _suspended,
    "degraded_rolled_back": lambda: _reached(_changed(BAD, **NO_SHADOW), "RolledBack"),
    "degraded_shadow_failed": lambda: _reached(_changed(BAD), "RolledBack"),
    "degraded_aborted": lambda: _acted(_reached(_changed(**NO_SHADOW), "Canary Running"), "Abort"),
    "degraded_forced_strong": lambda: _acted(_stable(), "ForceStrong"),
}
"""Where a whole rollout leads to."""


def manifest(found: RoutingPolicy) -> Object:
    """Return a policy as the API server shows it."""
    obj = found.to_kube()
    return obj | {"metadata": {key: value for key, value in obj["metadata"].items() if value}}


def with_reasons(
    obj: Object, reasons: Sequence[ConditionReason], known: Reasons, message: str = ""
) -> Object:
    """Return an object with these reasons' conditions, and Ready as it follows from all."""
    generation = obj["metadata"]["generation"]
    kept = [Condition.model_validate(c) for c in (obj.get("status") or {}).get("conditions", [])]
    for reason in reasons:
        new = condition(reason, message, generation, NOW)
        others = [c for c in kept if c.type != reason.TYPE.value]
        kept = [*others, new]
    if any(reason.TYPE.value == "Ready" for reason in reasons):
        kept = with_stalled(kept, generation, NOW, known)
    else:
        kept = summed_up([c for c in kept if c.type != "Ready"], generation, NOW, known)
    status = (obj.get("status") or {}) | {
        "observedGeneration": generation,
        "conditions": [c.to_kube() for c in kept],
    }
    return obj | {"status": status}


def policy_with(*reasons: ConditionReason, message: str = "") -> Object:
    """Return a policy whose revision serves, but for these reasons."""
    whole = (
        AcceptedReason.ACCEPTED,
        ClassifierReadyReason.LOADED,
        ProgrammedReason.ACKNOWLEDGED,
        ProgressingReason.PROMOTED,
    )
    base = with_reasons(manifest(_stable().policy), whole, REASONS)
    return with_reasons(base, reasons, REASONS, message) if reasons else base


def gateway_with(*reasons: ConditionReason, message: str = "") -> Object:
    """Return a gateway whose Envoys serve, but for these reasons."""
    obj = {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingGateway",
        "metadata": dict(_METADATA),
        "spec": {"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        "status": {
            "address": "pointsman-gateway-default.pointsman-system.svc",
            "replicas": 2,
            "readyReplicas": 2,
            "policies": 1,
        },
    }
    whole = (GatewayAcceptedReason.ACCEPTED, CertifiedReason.CERTIFIED, AvailableReason.AVAILABLE)
    return with_reasons(with_reasons(obj, whole, GATEWAY_REASONS), reasons, GATEWAY_REASONS, message)


def pool_with(*reasons: ConditionReason, message: str = "") -> Object:
    """Return a pool whose Tritons hold every model, but for these reasons."""
    obj = {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "TritonPool",
        "metadata": dict(_METADATA),
        "spec": {},
        "status": {
            "address": "pointsman-triton-default.pointsman-system.svc",
            "replicas": 2,
            "readyReplicas": 2,
            "models": 1,
            "policies": 1,
        },
    }
    whole = (PoolAcceptedReason.ACCEPTED, PoolAvailableReason.AVAILABLE, PoolReadyReason.READY)
    return with_reasons(with_reasons(obj, whole, POOL_REASONS), reasons, POOL_REASONS, message)


def action_with(effect: str | None, message: str = "") -> Object:
    """Return a RolloutAction and what became of it."""
    status = {"effect": effect, "message": message} if effect else {}
    return {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": "support-abort-x7k2p", "namespace": "chat", "uid": "u-3", "generation": 1},
        "spec": {"policyRef": {"name": "support"}, "action": "Abort", "requestedBy": "alice"},
        "status": status,
    }


def revision_of(world: World, outcome: str) -> Object:
    """Return the revision of a world with an attempt that ended so; "": with none on record."""
    kept = next(
        k
        for k in world.kept.values()
        if not outcome or any(a.rollout.outcome == outcome for a in k.status.attempts)
    )
    return {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingPolicyRevision",
        "metadata": {"name": kept.name, "namespace": "chat", "uid": "u-4", "generation": 1},
        "spec": kept.spec.to_kube(),
        "status": kept.status.to_kube() if outcome else {},
    }


def served_by_envoys(obj: Object) -> Object:
    """Return a policy with what the Envoys say, which no rollout decides; as it was, if its spec is new."""
    if obj["status"]["observedGeneration"] < obj["metadata"]["generation"]:
        return obj
    return with_reasons(obj, [ProgrammedReason.ACKNOWLEDGED], REASONS)


def scenes() -> dict[str, dict[str, Object]]:
    """Return all test data, by kind and name."""
    worlds = {name: make() for name, make in WORLDS.items()}
    new = manifest(policy()) | {"status": NEW}
    served = {name: served_by_envoys(manifest(world.policy)) for name, world in worlds.items()}
    failed = served["degraded_shadow_failed"]
    gate = with_reasons(failed, [named(ProgressingReason, "GateFailed")], REASONS)
    return {
        "RoutingPolicy": served
        | {
            "progressing_new": new,
            "progressing_loading": policy_with(
                ProgressingReason.WAITING_FOR_CLASSIFIER, ClassifierReadyReason.LOADING
            ),
            "progressing_pending": policy_with(
                ProgrammedReason.PENDING, message="1 of 2 Envoys acknowledged"
            ),
            "degraded_gate_failed": gate,
            "degraded_not_accepted": policy_with(
                AcceptedReason.SECRET_NOT_FOUND, message="spec.tiers[0].apiKeyRef: Secret keys is not there"
            ),
            "degraded_bundle": policy_with(ClassifierReadyReason.DIGEST_MISMATCH),
            "degraded_quarantined": policy_with(ProgrammedReason.QUARANTINED),
        },
        "RoutingGateway": {
            "healthy": gateway_with(),
            "progressing_new": gateway_with() | {"status": NEW},
            "progressing_starting": gateway_with(AvailableReason.PROGRESSING, message="1 of 2 Envoys serve"),
            "degraded_secret": gateway_with(GatewayAcceptedReason.SECRET_NOT_FOUND),
            "degraded_image": gateway_with(AvailableReason.IMAGE_PULL_BACK_OFF),
        },
        "TritonPool": {
            "healthy": pool_with(),
            "progressing_new": pool_with() | {"status": NEW},
            "progressing_scaling": pool_with(PoolReadyReason.SCALING, message="1 of 2 Tritons are ready"),
            "degraded_unschedulable": pool_with(PoolAvailableReason.UNSCHEDULABLE),
        },
        "RolloutAction": {
            "progressing_new": action_with(None),
            "healthy_applied": action_with("Applied", "aborted by alice at 25 %"),
            "healthy_no_effect": action_with("NoEffect", "no rollout is under way; support-1 serves"),
        },
        "RoutingPolicyRevision": {
            "healthy_new": revision_of(worlds["progressing_noise"], ""),
            "healthy_rolled_back": revision_of(worlds["degraded_rolled_back"], "RolledBack"),
        },
    }


def main() -> None:
    """Write the test data."""
    for kind, objects in scenes().items():
        folder = CUSTOMIZATIONS / kind / "testdata"
        folder.mkdir(parents=True, exist_ok=True)
        for name, obj in objects.items():
            text = yaml.safe_dump(obj, sort_keys=False, allow_unicode=True, width=100)
            (folder / f"{name}.yaml").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
