"""Policies, revisions and what was served last → what each gateway shall serve. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pointsman.api.conditions import AcceptedReason, ProgrammedReason
from pointsman.api.v1alpha1.settings import settings
from pointsman.api.v1alpha1.status import TrafficShare
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.arms import PlanError, always_strong_arm, revision_arm
from pointsman.plan.types import ArmPlan, CapturePlan, Finding, GatewayPlan, PolicyPlan, StickyPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision

_WHOLE: Final = 1000
_CAPTURE_BYTES: Final = 262_144


class _RevisionGoneError(PlanError):
    """`status.traffic` names a revision that is not ours to serve (not cached, deleted, another owner's)."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What `build` returns: a plan for each gateway that is named, and what is wrong with the policies."""

    gateways: Mapping[str, GatewayPlan]
    findings: tuple[Finding, ...]


def build(
    policies: Sequence[RoutingPolicy],
    revisions: Mapping[str, RoutingPolicyRevision],
    last: Mapping[str, PolicyPlan],
) -> BuildResult:
    """Return every gateway's plan.

    `revisions` is keyed by `namespace/name`; `last` holds the policies' plans as last built, by policy key:
    what goes on being served where the traffic in force cannot be planned now. Never raises for what a
    policy holds.
    """
    served: dict[str, list[PolicyPlan]] = {}
    findings: list[Finding] = []
    holders: dict[tuple[str, str, str], str] = {}
    for policy in sorted(policies, key=lambda p: (p.metadata.creation_timestamp, p.key)):
        if policy.metadata.deletion_timestamp is not None:
            continue
        gateway = policy.spec.gateway_ref.name
        on_gateway = served.setdefault(gateway, [])
        plan, finding = _plan_or_last(policy, revisions, last.get(policy.key))
        if finding is not None:
            findings.append(finding)
        if plan is None:
            continue
        claims = [(gateway, host, model) for host in plan.hostnames for model in plan.models]
        taken = next((claim for claim in claims if claim in holders), None)
        if taken is not None:
            findings.append(_conflict(policy.key, taken, holders[taken]))
            continue
        holders |= dict.fromkeys(claims, policy.key)
        on_gateway.append(plan)
    gateways = {
        name: GatewayPlan(gateway=name, policies=tuple(sorted(plans, key=lambda p: p.key)))
        for name, plans in sorted(served.items())
    }
    findings.sort(key=lambda f: (f.policy, f.reason))
    return BuildResult(gateways=gateways, findings=tuple(findings))


def _plan_or_last(
    policy: RoutingPolicy, revisions: Mapping[str, RoutingPolicyRevision], last: PolicyPlan | None
) -> tuple[PolicyPlan | None, Finding | None]:
    """Return the plan to serve: the last one, or all to strong, where the one in force cannot be made."""
    try:
        return _plan(policy, revisions)
    except _RevisionGoneError as error:
        finding = Finding(policy.key, ProgrammedReason.REVISION_NOT_FOUND, str(error))
    except Exception as error:  # noqa: BLE001 - one bad policy never stops the others, whatever is wrong with it
        finding = Finding(policy.key, AcceptedReason.INVALID_SPEC, str(error) or repr(error))
    if last is not None:
        return last, finding
    try:
        return _assemble(policy, [always_strong_arm(policy, _WHOLE)], []), finding
    except Exception:  # noqa: BLE001 - as above; the finding says why
        return None, finding


def _plan(
    policy: RoutingPolicy, revisions: Mapping[str, RoutingPolicyRevision]
) -> tuple[PolicyPlan, Finding | None]:
    """Return the plan of the traffic in force, and what is wrong with what only stands by."""
    traffic = [share for share in policy.status.traffic if share.weight_permille > 0]
    if not traffic:
        traffic = [TrafficShare(revision=ALWAYS_STRONG, weight_permille=_WHOLE)]
    total = sum(share.weight_permille for share in traffic)
    if total != _WHOLE:
        raise PlanError(f"status.traffic: weights add up to {total}, not {_WHOLE}; write it anew")
    arms = []
    for share in traffic:
        arm = _arm(policy, revisions, share.revision, share.weight_permille)
        if arm is None:
            raise _RevisionGoneError(
                f"status.traffic: revision {share.revision} is not there or is not this policy's; "
                "until it is, the last plan is served, or all goes to the last tier"
            )
        arms.append(replace(arm, label=_label(policy, share.revision)))
    routed = {arm.revision for arm in arms}
    # What a rollback or the next step needs is in place before it is needed.
    status = policy.status
    rollout = status.rollout
    ready = [status.candidate_revision, status.stable_revision]
    if rollout is not None and rollout.ended_at is None:
        ready += [rollout.candidate, rollout.incumbent]
    ready += [*(warm.revision for warm in status.warm), ALWAYS_STRONG]
    warm, finding = [], None
    for name in dict.fromkeys(ready):
        if not name or name in routed:
            continue
        try:
            arm = _arm(policy, revisions, name, 0)
        except Exception as error:  # noqa: BLE001 - what carries no traffic never holds up what does
            finding = finding or Finding(policy.key, AcceptedReason.INVALID_SPEC, f"{name}: {error}")
            continue
        if arm is not None:
            warm.append(arm)
    return _assemble(policy, arms, warm), finding


def _label(policy: RoutingPolicy, revision: str) -> str:
    """Return what an arm's requests are counted under: the live rollout, its step, and which arm it is."""
    rollout = policy.status.rollout
    if rollout is None or rollout.ended_at is not None or not rollout.steps:
        return ""
    arm = {rollout.incumbent: "i", rollout.candidate: "c"}.get(revision)
    return f"{rollout.id}/{rollout.steps[-1].index}/{arm}" if arm else ""


def _sticky(policy: RoutingPolicy) -> StickyPlan:
    """Return what arms are hashed on. The salt outlives its rollout: nobody changes arms at its end."""
    rollout = policy.status.rollout
    return StickyPlan(
        salt=rollout.id if rollout is not None else "", header=settings(policy.spec).sticky_header
    )


def _arm(
    policy: RoutingPolicy, revisions: Mapping[str, RoutingPolicyRevision], name: str, weight: int
) -> ArmPlan | None:
    """Return the arm of a revision; None if it is not cached, or belongs to another object (by uid)."""
    if name == ALWAYS_STRONG:
        return always_strong_arm(policy, weight)
    revision = revisions.get(f"{policy.metadata.namespace}/{name}")
    if revision is None:
        return None
    owners = {owner.get("uid") for owner in revision.metadata.owner_references}
    return revision_arm(policy, revision, weight) if policy.metadata.uid in owners else None


def _assemble(policy: RoutingPolicy, arms: list[ArmPlan], warm: list[ArmPlan]) -> PolicyPlan:
    evaluation = policy.spec.evaluation
    capture = None
    if evaluation is not None and evaluation.capture is not None and evaluation.capture.sample_permille > 0:
        capture = CapturePlan(
            sample_permille=evaluation.capture.sample_permille,
            max_bytes=evaluation.capture.max_bytes or _CAPTURE_BYTES,
        )
    return PolicyPlan(
        namespace=policy.metadata.namespace,
        name=policy.metadata.name,
        generation=policy.metadata.generation,
        hostnames=tuple(sorted(policy.spec.match.hostnames)),
        models=tuple(sorted(policy.spec.match.models)),
        arms=tuple(sorted(arms, key=lambda a: a.revision)),
        warm=tuple(sorted(warm, key=lambda a: a.revision)),
        capture=capture,
        sticky=_sticky(policy) if len(arms) > 1 else None,
    )


def _conflict(policy: str, taken: tuple[str, str, str], holder: str) -> Finding:
    gateway, host, model = taken
    return Finding(
        policy,
        AcceptedReason.HOST_CONFLICT,
        f"match: model {model} on host {host} of gateway {gateway} is held by the older policy {holder}; "
        "change match.hostnames or match.models, or delete one of the two",
    )
