"""A policy and its traffic in fast motion: counts are drawn, the pure machine decides, nothing waits.

What a real operator does between two reconciles is one call of `tick`: time passes, requests are answered and
scored, then observe → decide → next status, as often as it asks to be called again at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pointsman.api.conditions import ProgrammedReason
from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionStatus
from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.announce import Announcement, announcements
from pointsman.rollout.decide import Action, Decision, decide
from pointsman.rollout.evidence import (
    ArmCoverage,
    Ended,
    Evidence,
    GateProgress,
    HalfWindow,
    Moments,
    PairCounts,
    StreamKey,
    Tally,
    Trouble,
    Window,
)
from pointsman.rollout.moments import unix
from pointsman.rollout.observation import Kept, Observation, Programmed, SeenAction
from pointsman.rollout.question import GUARDS
from pointsman.rollout.revisions import desired_name, revision_spec
from pointsman.rollout.state import next_status

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()
WINDOW = 5.0
RUBRIC = "correct"
ROLLOUT: dict[str, Any] = {
    "noise": {"window": "5s", "minWindows": 8},
    "shadow": {"samplePermille": 1000, "minPairs": 500},
    "canary": {
        "steps": [
            {"weightPermille": 250, "minDuration": "15s"},
            {"weightPermille": 500, "minDuration": "15s"},
        ]
    },
    "verdict": {
        "toleratedDropPermille": 60,
        "minimumDropPermille": 40,
        "falseAlarmPermille": 10,
        "falsePassPermille": 50,
    },
}


def policy(model: str = "cheap", **spec: Any) -> RoutingPolicy:
    """Return a pinned policy; `model` of the cheap tier makes the revision."""
    rollout = ROLLOUT | spec.pop("rollout", {})
    evaluation = {
        "prometheus": {"url": "http://prometheus:9090"},
        "capture": {"samplePermille": 1000},
        "rubrics": [{"name": RUBRIC, "type": "Contains", "contains": {"all": ["yes"]}}],
    } | spec.pop("evaluation", {})
    body = {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
        "tiers": [
            {"name": "cheap", "endpoints": [{"url": "http://tier/v1"}], "model": model},
            {"name": "strong", "endpoints": [{"url": "http://tier/v1"}], "model": "strong"},
        ],
        "strategy": {"type": "Pinned", "pinned": {"tier": "cheap"}},
        "evaluation": evaluation,
        "rollout": rollout,
    }
    metadata = {
        "name": "support",
        "namespace": "chat",
        "uid": "u-1",
        "generation": 1,
        "creationTimestamp": "2026-11-22T11:00:00Z",
    }
    raw = {"apiVersion": "pointsman.dev/v1alpha1", "kind": "RoutingPolicy", "metadata": metadata}
    return RoutingPolicy.model_validate(raw | {"spec": body | spec})


@dataclass
class Quality:
    """How often a revision passes, by rubric and intent; rubrics that are not named: 0.995."""

    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    overall: float = 0.9
    scored: float = 1.0
    """Share of its answers that the policy's own rubric can score."""

    def rate(self, rubric: str, intent: str) -> float:
        """Return the chance of passing."""
        return self.rates.get((rubric, intent), self.rates.get((rubric, ""), self._usual(rubric)))

    def _usual(self, rubric: str) -> float:
        return self.overall if rubric == RUBRIC else 0.995


@dataclass
class World:
    """One policy, its revisions, its traffic, and the time."""

    policy: RoutingPolicy
    qualities: dict[str, Quality] = field(default_factory=dict)
    intents: dict[str, float] = field(default_factory=lambda: {"": 1.0})
    """Shares of the traffic; "": intent unknown, counted overall alone."""
    rate: float = 100.0
    seed: int = 1
    now_s: float = START
    skew_s: float = 0.0
    """The operator's clock minus everybody else's."""
    trouble: Trouble | None = None
    programmed: ProgrammedReason = ProgrammedReason.ACKNOWLEDGED
    gate: GateProgress = field(default_factory=GateProgress)
    actions: list[SeenAction] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    history: list[RoutingPolicyStatus] = field(default_factory=list)
    told: list[Announcement] = field(default_factory=list)
    writes: int = 0
    arms: dict[str, dict[tuple[str, str], dict[tuple[float, int], list[int]]]] = field(default_factory=dict)
    """By rollout id: counts of each rubric and intent in each window and step."""
    halves: dict[str, dict[tuple[str, str], dict[float, list[int]]]] = field(default_factory=dict)
    pairs: dict[str, dict[tuple[str, str], list[int]]] = field(default_factory=dict)
    unscored: dict[tuple[str, str], int] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    """What the evaluator remembers."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    # -- what others do --------------------------------------------------------------------------------------

    def apply(self, changed: RoutingPolicy) -> None:
        """Change the spec, as kubectl does."""
        generation = self.policy.metadata.generation + 1
        metadata = self.policy.metadata.model_copy(update={"generation": generation})
        self.policy = changed.model_copy(update={"metadata": metadata, "status": self.policy.status})

    def act(self, name: str, **spec: Any) -> str:
        """Create a RolloutAction; return its uid."""
        uid = f"a-{len(self.actions)}"
        created = datetime.fromtimestamp(int(self.now_s), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"policyRef": {"name": "support"}, "action": name, "requestedBy": "alice"} | spec
        self.actions.append(SeenAction(uid, uid, created, RolloutActionSpec.model_validate(body)))
        return uid

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass with its traffic, then reconcile until nothing follows at once."""
        self._serve(seconds)
        self.now_s += seconds
        self.settle()

    def run(self, until: Any, limit_s: float, step_s: float = 1.0) -> bool:
        """Tick until a condition of this world holds; False if it never did."""
        end = self.now_s + limit_s
        while self.now_s < end:
            if until(self):
                return True
            self.tick(step_s)
        return bool(until(self))

    def settle(self, most: int = 12) -> None:
        """Reconcile until the operator would wait."""
        for _ in range(most):
            decision = self.reconcile()
            if decision.requeue_after is None or decision.requeue_after > 0:
                return
        raise AssertionError("the rollout never comes to rest")

    def reconcile(self) -> Decision:
        """Observe, decide, act, write: one tick of the operator."""
        now = self.at
        o = self.observation()
        decision = decide(o, now)
        if decision.action == Action.FREEZE_REVISION:
            name = o.desired
            self.kept[name] = Kept(name, f"uid-{name}", "2026-11-22T11:00:00Z", revision_spec(self.policy))
        if decision.record is not None:
            due = decision.record
            recorded = RoutingPolicyRevisionStatus.model_validate(due.patch)
            self.kept[due.kept.name] = replace(due.kept, status=recorded)
        status = next_status(o, decision, now)
        if status != self.policy.status:
            self.told += announcements(self.policy.status, status)
            # what is written is what comes back
            stored = RoutingPolicyStatus.model_validate(status.to_kube())
            assert stored == status
            self.policy = self.policy.model_copy(update={"status": stored})
            self.history.append(stored)
            self.writes += 1
        return decision

    def observation(self) -> Observation:
        """Return what the operator sees now."""
        return Observation(
            policy=self.policy,
            desired=desired_name(self.policy),
            kept=tuple(self.kept.values()),
            strays=(),
            classifier=None,
            stable_classifier=None,
            programmed=Programmed(self.programmed),
            evidence=self.evidence(),
            actions=tuple(self.actions),
        )

    @property
    def at(self) -> datetime:
        """The present time, as the operator has it."""
        return datetime.fromtimestamp(self.now_s + self.skew_s, tz=UTC)

    @property
    def status(self) -> RoutingPolicyStatus:
        """The policy's status."""
        return self.policy.status

    @property
    def step(self) -> str:
        """Name and state of the present step."""
        step = self.status.step
        return f"{step.name} {step.state}" if step else "none"

    def weight(self, revision: str) -> int:
        """Return a revision's share in permille."""
        return sum(s.weight_permille for s in self.status.traffic if s.revision == revision)

    # -- traffic ---------------------------------------------------------------------------------------------

    def quality(self, revision: str) -> Quality:
        """Return how good a revision is."""
        return self.qualities.get(revision, Quality())

    def _serve(self, seconds: float) -> None:
        status = self.status
        rollout = status.rollout if status.rollout and status.rollout.ended_at is None else None
        serving = {s.revision: s.weight_permille / 1000 for s in status.traffic} or {ALWAYS_STRONG: 1.0}
        window = self.now_s // WINDOW * WINDOW
        for intent, share in self.intents.items():
            for revision, weight in serving.items():
                n = int(self.rng.poisson(self.rate * seconds * share * weight))
                resting = rollout.incumbent if rollout else status.stable_revision or ALWAYS_STRONG
                for rubric in (RUBRIC, *GUARDS):
                    self._score(rubric, intent, revision, n, window, rollout, resting)
            if rollout is not None and status.step is not None and status.step.name == "Shadow":
                self._shadow(rollout, intent, int(self.rng.poisson(self.rate * seconds * share)))

    def _score(  # noqa: PLR0917 - one line of a table
        self, rubric: str, intent: str, revision: str, n: int, window: float, rollout: Any, resting: str
    ) -> None:
        quality = self.quality(revision)
        if rubric == RUBRIC and quality.scored < 1:
            scored = int(self.rng.binomial(n, quality.scored))
            arm = "candidate" if rollout and revision == rollout.candidate else "incumbent"
            self.unscored[rubric, arm] = self.unscored.get((rubric, arm), 0) + n - scored
            n = scored
        half = int(self.rng.binomial(n, 0.5))
        p = quality.rate(rubric, intent)
        passed = [int(self.rng.binomial(half, p)), int(self.rng.binomial(n - half, p))]
        for name in {"", intent}:
            if revision == resting:
                cells = self.halves.setdefault(revision, {}).setdefault((rubric, name), {})
                _add(cells.setdefault(window, [0] * 4), (passed[0], half, passed[1], n - half))
            if rollout is not None and revision in {rollout.incumbent, rollout.candidate}:
                began = unix(rollout.steps[-1].started_at)
                at = (max(window, began), rollout.steps[-1].index)
                places = self.arms.setdefault(rollout.id, {}).setdefault((rubric, name), {})
                mine = (sum(passed), n)
                _add(
                    places.setdefault(at, [0] * 4),
                    (0, 0, *mine) if revision == rollout.candidate else (*mine, 0, 0),
                )

    def _shadow(self, rollout: Any, intent: str, n: int) -> None:
        for rubric in (RUBRIC, "answered"):
            p_i = self.quality(rollout.incumbent).rate(rubric, intent)
            p_c = self.quality(rollout.candidate).rate(rubric, intent)
            both = min(p_i, p_c)  # answers of the two agree as far as they can
            found = self.rng.multinomial(n, [both, p_i - both, p_c - both, 1 - max(p_i, p_c)])
            for name in {"", intent}:
                counts = self.pairs.setdefault(rollout.id, {}).setdefault((rubric, name), [0] * 4)
                _add(counts, tuple(int(x) for x in found))

    def evidence(self) -> Evidence:
        """Return what Prometheus would say now."""
        if self.trouble is not None:
            return Evidence(at_s=self.now_s, trouble=self.trouble, words="the test says so")
        status = self.status
        rollout = status.rollout if status.rollout and status.rollout.ended_at is None else None
        incumbent = rollout.incumbent if rollout else status.stable_revision or ALWAYS_STRONG
        measured = self.halves.get(incumbent, {})
        closed = self.now_s // WINDOW * WINDOW
        moments = {}
        for rubric in (RUBRIC, *GUARDS):
            cells = measured.get((rubric, ""), {}).values()
            passes, total = sum(c[0] + c[2] for c in cells), sum(c[1] + c[3] for c in cells)
            moments[rubric] = Moments(passes, passes, total, passes, total)  # a session a request: phi is 1
        return Evidence(
            at_s=self.now_s,
            scored_until_s=self.now_s,
            canary={
                StreamKey(*key): tuple(
                    Window(step, start, Tally(*c[:2]), Tally(*c[2:]))
                    for (start, step), c in sorted(cells.items())
                )
                for key, cells in self.arms.get(rollout.id if rollout else "", {}).items()
            },
            shadow={
                StreamKey(*key): PairCounts(*counts)
                for key, counts in self.pairs.get(rollout.id if rollout else "", {}).items()
            },
            gate=self.gate,
            halves={
                StreamKey(*key): tuple(
                    HalfWindow(Tally(*c[:2]), Tally(*c[2:])) for at, c in sorted(cells.items()) if at < closed
                )
                for key, cells in measured.items()
            },
            moments=moments,
            coverage={key: ArmCoverage(self._scored(key, rollout), n) for key, n in self.unscored.items()},
            cost_usd=7.1,
            baseline_cost_usd=10.0,
            priced_requests=1000,
            ended=self.ended,
        )

    def _scored(self, key: tuple[str, str], rollout: Any) -> int:
        cells = self.arms.get(rollout.id if rollout else "", {}).get((key[0], ""), {}).values()
        return sum(c[3] if key[1] == "candidate" else c[1] for c in cells)


def _add(to: list[int], what: tuple[int, ...]) -> None:
    for place, count in enumerate(what):
        to[place] += count
