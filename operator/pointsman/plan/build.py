"""Policies, revisions and what was served last → what each gateway shall serve. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pointsman import install
from pointsman.api.conditions import AcceptedReason, ProgrammedReason, find
from pointsman.api.v1alpha1.settings import settings
from pointsman.api.v1alpha1.status import TrafficShare
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.arms import PlanError, always_strong_arm, revision_arm
from pointsman.plan.fleet import host_refusal, is_allowed
from pointsman.plan.memory import Memory
from pointsman.plan.types import ArmPlan, CapturePlan, Finding, GatewayPlan, PolicyPlan, StickyPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.plan.fleet import Fleet

_WHOLE: Final = 1000
_CAPTURE_BYTES: Final = 262_144


class _RevisionGoneError(PlanError):
    """`status.traffic` names a revision that is not ours to serve (not cached, deleted, another owner's)."""


class _HostForbiddenError(PlanError):
    """An arm has a tier at a host that the gateway does not allow."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a policy's gateway says of its arms."""

    gateway: str
    namespace: str = install.SYSTEM_NAMESPACE
    """The system namespace, where the pools lie."""
    hosts: tuple[str, ...] = ()
    """Where tiers may be; empty: anywhere."""

    def refusal(self, policy: str, tiers: Iterable[tuple[str, str]]) -> Finding | None:
        """Return the finding of the first (tier, host) that is not allowed."""
        found = ((t, host) for t, host in tiers if self.hosts and not is_allowed(host, self.hosts))
        return next((host_refusal(policy, self.gateway, t, host, self.hosts) for t, host in found), None)

    def allow(self, arm: ArmPlan) -> bool:
        """Tell whether all hosts of an arm are allowed."""
        return self.refusal("", _hosts(arm)) is None


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What `build` returns: a plan for each gateway that is named, and what is wrong with the policies."""

    gateways: Mapping[str, GatewayPlan]
    findings: tuple[Finding, ...]


def build(
    policies: Sequence[RoutingPolicy],
    revisions: Mapping[str, RoutingPolicyRevision],
    last: Mapping[str, PolicyPlan],
    fleet: Fleet | None = None,
    memory: Memory | None = None,
) -> BuildResult:
    """Return every gateway's plan.

    `revisions` is keyed by `namespace/name`; `last` holds the policies' plans as last built, by policy key:
    what goes on being served where the traffic in force cannot be planned now. Without `fleet` a gateway is
    whatever policies name, and takes all of them. With `memory`, what did not change is not planned anew.
    Never raises for what a policy holds.
    """
    memory = Memory() if memory is None else memory
    memory.keep(frozenset(policy.key for policy in policies))
    fronts = fleet.fronts() if fleet is not None else {}
    served: dict[str, list[PolicyPlan]] = {name: [] for name in fronts}
    findings: list[Finding] = []
    holders: dict[tuple[str, str, str], str] = {}
    for policy in sorted(policies, key=_seniority):
        if policy.metadata.deletion_timestamp is not None:
            continue
        gateway = policy.spec.gateway_ref.name
        refusal, taken_in = _admitted(policy, last, fleet)
        if refusal is not None:
            findings.append(refusal)
        if not taken_in:
            continue
        on_gateway = served.setdefault(gateway, [])
        rules = _Rules(gateway)
        if fleet is not None:
            rules = _Rules(gateway, fleet.namespace, fleet.tier_hosts(gateway))
        plan, finding = _plan_or_last(policy, revisions, last.get(policy.key), rules, memory)
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
        name: GatewayPlan(name, tuple(sorted(plans, key=lambda p: p.key)), fronts.get(name))
        for name, plans in sorted(served.items())
    }
    findings.sort(key=lambda f: (f.policy, f.reason))
    return BuildResult(gateways=gateways, findings=tuple(findings))


def _seniority(policy: RoutingPolicy) -> tuple[str, bool, str]:
    """Return what policies are sorted by: the oldest first, and of two of one second who was told so."""
    accepted = find(policy.status.conditions, "Accepted")
    return policy.metadata.creation_timestamp, not (accepted and accepted.status == "True"), policy.key


def _admitted(
    policy: RoutingPolicy, last: Mapping[str, PolicyPlan], fleet: Fleet | None
) -> tuple[Finding | None, bool]:
    """Return what the gateway has against a policy, and whether it is served there all the same.

    Only two kinds are, and only if they were: what a gateway that is leaving still has, and what nobody can
    judge yet. A namespace that is not allowed, or no longer, is out at once.
    """
    if fleet is None:
        return None, True
    refusal = fleet.refusal(policy)
    if refusal is None and not fleet.in_doubt(policy):
        return None, True
    stays = fleet.in_doubt(policy) or policy.spec.gateway_ref.name in fleet.leaving
    return refusal, stays and policy.key in last


def _plan_or_last(
    policy: RoutingPolicy,
    revisions: Mapping[str, RoutingPolicyRevision],
    last: PolicyPlan | None,
    rules: _Rules,
    memory: Memory,
) -> tuple[PolicyPlan | None, Finding | None]:
    """Return the plan to serve: the last one, or all to strong, where the one in force cannot be made.

    Whatever it is, nothing in it leads to a host that is not allowed.
    """
    try:
        return memory.plan(policy, revisions, rules, _plan)
    except _RevisionGoneError as error:
        finding = Finding(policy.key, ProgrammedReason.REVISION_NOT_FOUND, str(error))
    except _HostForbiddenError as error:
        finding = Finding(policy.key, AcceptedReason.TIER_HOST_NOT_ALLOWED, str(error))
    except Exception as error:  # noqa: BLE001 - one bad policy never stops the others, whatever is wrong with it
        finding = Finding(policy.key, AcceptedReason.INVALID_SPEC, str(error) or repr(error))
    if last is not None and all(rules.allow(arm) for arm in last.arms):
        return replace(last, warm=tuple(arm for arm in last.warm if rules.allow(arm))), finding
    try:
        strong = always_strong_arm(policy, _WHOLE)
        return (_assemble(policy, [strong], []) if rules.allow(strong) else None), finding
    except Exception:  # noqa: BLE001 - as above; the finding says why
        return None, finding


def _plan(
    policy: RoutingPolicy, revisions: Mapping[str, RoutingPolicyRevision], rules: _Rules
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
        arm = _arm(policy, revisions, share.revision, share.weight_permille, rules)
        if arm is None:
            raise _RevisionGoneError(
                f"status.traffic: revision {share.revision} is not there or is not this policy's; "
                "until it is, the last plan is served, or all goes to the last tier"
            )
        refused = rules.refusal(policy.key, _hosts(arm))
        if refused is not None:
            raise _HostForbiddenError(refused.message)
        arms.append(replace(arm, label=_label(policy, share.revision)))
    warm, finding = _warm(policy, revisions, {arm.revision for arm in arms}, rules)
    return _assemble(policy, arms, warm), rules.refusal(policy.key, _wished(policy)) or finding


def _warm(
    policy: RoutingPolicy,
    revisions: Mapping[str, RoutingPolicyRevision],
    routed: set[str],
    rules: _Rules,
) -> tuple[list[ArmPlan], Finding | None]:
    """Return what a rollback or the next step needs, ready before it is needed, and what is wrong there."""
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
            arm = _arm(policy, revisions, name, 0, rules)
        except Exception as error:  # noqa: BLE001 - what carries no traffic never holds up what does
            finding = finding or Finding(policy.key, AcceptedReason.INVALID_SPEC, f"{name}: {error}")
            continue
        refused = rules.refusal(policy.key, _hosts(arm)) if arm is not None else None
        if refused is not None:
            finding = finding or refused
        elif arm is not None:
            warm.append(arm)
    return warm, finding


def _hosts(arm: ArmPlan) -> list[tuple[str, str]]:
    """Return (tier, host) of all that an arm leads to."""
    return [(tier.name, endpoint.host) for tier in arm.tiers for endpoint in tier.endpoints]


def _wished(policy: RoutingPolicy) -> list[tuple[str, str]]:
    """Return (tier, host) of all that the spec asks for, whether or not it is in force."""
    return [(t.name, urlsplit(e.url).hostname or "") for t in policy.spec.tiers for e in t.endpoints]


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
    policy: RoutingPolicy,
    revisions: Mapping[str, RoutingPolicyRevision],
    name: str,
    weight: int,
    rules: _Rules,
) -> ArmPlan | None:
    """Return the arm of a revision; None if it is not cached, or belongs to another object (by uid)."""
    if name == ALWAYS_STRONG:
        return always_strong_arm(policy, weight)
    revision = revisions.get(f"{policy.metadata.namespace}/{name}")
    if revision is None:
        return None
    owners = {owner.get("uid") for owner in revision.metadata.owner_references}
    if policy.metadata.uid not in owners:
        return None
    return revision_arm(policy, revision, weight, rules.namespace)


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
