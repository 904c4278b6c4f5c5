"""A rollout's settings, every default resolved, in seconds and permille. Pure; the one place of defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pointsman.api.v1alpha1.cel import seconds
from pointsman.api.v1alpha1.rollout import (
    Canary,
    Noise,
    Rollout,
    Shadow,
    StickyBy,
    Verdict,
)

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.routing_policy import RoutingPolicySpec


@dataclass(frozen=True, slots=True)
class Step:
    """One canary step."""

    weight_permille: int
    min_duration_s: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What `spec.rollout` and `spec.evaluation.gate` mean. Durations are seconds, shares permille."""

    mode: Literal["Progress", "Observe", "Direct"]
    first: Literal["Prove", "Direct"]
    window_s: float
    min_windows: int
    noise_multiplier: float
    noise_max_s: float
    shadow: bool
    shadow_sample_permille: int
    min_pairs: int
    shadow_max_s: float
    shadow_budget_usd_per_hour: float
    sticky_header: str
    """"" means by conversation."""
    steps: tuple[Step, ...]
    canary_max_s: float
    minimum_drop_permille: int
    tolerated_drop_permille: int
    false_alarm_permille: int
    false_pass_permille: int
    roll_back_if_inconclusive: bool
    approval: frozenset[str]
    keep_warm_s: float
    gate: bool
    """Whether there is a gate data set."""
    gate_min_cases: int
    gate_required: bool
    gate_max_s: float
    load_max_s: float


def settings(spec: RoutingPolicySpec) -> Settings:
    """Return the settings of a policy."""
    rollout = spec.rollout or Rollout()
    noise, shadow = rollout.noise or Noise(), rollout.shadow or Shadow()
    canary, verdict = rollout.canary or Canary(), rollout.verdict or Verdict()
    sticky = canary.sticky_by or StickyBy(type="Conversation")
    gate = spec.evaluation.gate if spec.evaluation else None
    return Settings(
        mode=rollout.mode or "Progress",
        first=rollout.first or "Prove",
        window_s=seconds(noise.window or "15m"),
        min_windows=noise.min_windows or 8,
        noise_multiplier=float(noise.multiplier or "1.5"),
        noise_max_s=seconds(noise.max_duration or "24h"),
        shadow=shadow.mode != "Off",
        shadow_sample_permille=_or(shadow.sample_permille, 100),
        min_pairs=shadow.min_pairs or 200,
        shadow_max_s=seconds(shadow.max_duration or "24h"),
        shadow_budget_usd_per_hour=float(shadow.budget_usd_per_hour or "2"),
        sticky_header=sticky.header or "" if sticky.type == "Header" else "",
        steps=tuple(Step(s.weight_permille, seconds(s.min_duration or "15m")) for s in canary.steps),
        canary_max_s=seconds(canary.max_duration or "72h"),
        minimum_drop_permille=_or(verdict.minimum_drop_permille, 10),
        tolerated_drop_permille=_or(verdict.tolerated_drop_permille, 30),
        false_alarm_permille=verdict.false_alarm_permille or 10,
        false_pass_permille=verdict.false_pass_permille or 50,
        roll_back_if_inconclusive=rollout.on_inconclusive == "Rollback",
        approval=frozenset(rollout.approval),
        keep_warm_s=seconds(rollout.keep_warm or "24h"),
        gate=gate is not None,
        gate_min_cases=(gate.min_cases if gate else None) or 50,
        gate_required=bool(gate and gate.required),
        gate_max_s=seconds((gate.max_duration if gate else None) or "1h"),
        load_max_s=seconds("1h"),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
