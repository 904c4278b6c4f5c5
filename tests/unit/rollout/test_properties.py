"""What holds in every rollout, whatever happens in whatever order: changes, words, counts, losses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pointsman.api.conditions import ProgrammedReason
from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionStatus
from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.rollout.decide import Action, Decision, decide
from pointsman.rollout.evidence import Evidence, HalfWindow, PairCounts, StreamKey, Tally, Trouble, Window
from pointsman.rollout.moments import unix
from pointsman.rollout.observation import Kept, Observation, Programmed, SeenAction
from pointsman.rollout.question import GUARDS, question
from pointsman.rollout.revisions import desired_name, revision_spec
from pointsman.rollout.state import next_status
from rollout_world import RUBRIC, START, policy

MODELS = ("a", "b", "c")
NAMES = {desired_name(policy(model)) for model in MODELS}
EVIDENCE = ("none", "stale", "away", "noise", "good shadow", "bad shadow", "good canary", "bad canary")


class AnyRollout(RuleBasedStateMachine):
    """One policy under everything that people, clocks, crashes and counts can do to it."""

    @initialize(model=st.sampled_from(MODELS))
    def begin(self, model: str) -> None:
        """Start from a new policy."""
        self.now_s, self.generation = START, 1
        self.changes: dict[str, Any] = {"rollout": {}}
        self.model = model
        self.status = RoutingPolicyStatus()
        self.kept: dict[str, Kept] = {}
        self.actions: list[SeenAction] = []
        self.counts = "none"
        self.last: Decision | None = None

    # -- what may happen -------------------------------------------------------------------------------------

    @rule(model=st.sampled_from(MODELS))
    def change_the_spec(self, model: str) -> None:
        """Ask for another revision, or again for the same."""
        self.model, self.generation = model, self.generation + 1

    @rule(
        mode=st.sampled_from(["Progress", "Progress", "Observe", "Direct"]),
        shadow=st.sampled_from(["On", "Off"]),
        approval=st.sampled_from([[], ["Canary"], ["Promotion"], ["Canary", "Promotion"]]),
        then=st.sampled_from(["Pause", "Rollback"]),
        suspend=st.booleans(),
    )
    def change_the_settings(
        self, mode: str, shadow: str, approval: list[str], then: str, *, suspend: bool
    ) -> None:
        """Change what applies live."""
        rollout = {"mode": mode, "shadow": {"mode": shadow}, "approval": approval, "onInconclusive": then}
        self.changes = {"rollout": rollout, "suspend": suspend}
        self.generation += 1

    @rule(counts=st.sampled_from(EVIDENCE))
    def count(self, counts: str) -> None:
        """Let Prometheus say something else."""
        self.counts = counts

    @rule(
        action=st.sampled_from(["Approve", "Abort", "Retry", "ForceStrong"]),
        model=st.sampled_from(MODELS),
        step=st.sampled_from(["Canary", "Promotion"]),
        named=st.booleans(),
    )
    def act(self, action: str, model: str, step: str, *, named: bool) -> None:
        """Create a RolloutAction, right or wrong."""
        body: dict[str, Any] = {"policyRef": {"name": "support"}, "action": action, "requestedBy": "alice"}
        if named or action == "Approve":
            body |= {"revision": desired_name(policy(model))}
        if action == "Approve":
            body |= {"step": step}
        uid = f"a-{len(self.actions)}"
        created = datetime.fromtimestamp(int(self.now_s), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.actions.append(SeenAction(uid, uid, created, RolloutActionSpec.model_validate(body)))

    @rule(seconds=st.sampled_from([0.5, 6.0, 20.0, 3600.0, 90000.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    @rule()
    def lose_the_status(self) -> None:
        """Restore the object from Git: its status is gone."""
        self.status = RoutingPolicyStatus()

    @rule(times=st.integers(1, 6))
    def reconcile(self, times: int) -> None:
        """Let the operator look, some times in a row."""
        for _ in range(times):
            self._reconcile()

    # -- what the operator does ------------------------------------------------------------------------------

    def _policy(self) -> RoutingPolicy:
        made = policy(self.model, **self.changes)
        metadata = made.metadata.model_copy(update={"generation": self.generation})
        return made.model_copy(update={"metadata": metadata, "status": self.status})

    def _observation(self) -> Observation:
        made = self._policy()
        return Observation(
            policy=made,
            desired=desired_name(made),
            kept=tuple(self.kept.values()),
            strays=(),
            classifier=None,
            stable_classifier=None,
            programmed=Programmed(ProgrammedReason.ACKNOWLEDGED),
            evidence=evidence(self.counts, made, self.now_s),
            actions=tuple(self.actions),
        )

    def _reconcile(self) -> None:
        o, now = self._observation(), datetime.fromtimestamp(self.now_s, tz=UTC)
        before, decision = self.status, decide(o, now)
        after = next_status(o, decision, now)
        assert next_status(o, decide(o, now), now) == after, "the same seen is the same decided"
        assert RoutingPolicyStatus.model_validate(after.to_kube()) == after, "what is written comes back"
        check_transition(before, after, o)
        if decision.action == Action.FREEZE_REVISION:
            self.kept[o.desired] = Kept(
                o.desired, f"uid-{o.desired}", "2026-11-22T11:00:00Z", revision_spec(o.policy)
            )
        if decision.record is not None:
            recorded = RoutingPolicyRevisionStatus.model_validate(decision.record.patch)
            self.kept[decision.record.kept.name] = replace(decision.record.kept, status=recorded)
        self.status, self.last = after, decision

    # -- what always holds -----------------------------------------------------------------------------------

    @invariant()
    def all_of_the_traffic_is_somewhere(self) -> None:
        """Weights add up to the whole; an empty list is always-strong."""
        if hasattr(self, "status"):
            assert sum(share.weight_permille for share in self.status.traffic) in {0, 1000}
            assert len({share.revision for share in self.status.traffic}) == len(self.status.traffic)

    @invariant()
    def what_failed_serves_nobody(self) -> None:
        """No revision in failedRevisions has traffic, is warm, or is stable."""
        if hasattr(self, "status"):
            failed = {each.revision for each in self.status.failed_revisions}
            assert not failed & {share.revision for share in self.status.traffic}
            assert not failed & {warm.revision for warm in self.status.warm}
            assert self.status.stable_revision not in failed

    @invariant()
    def only_what_is_known_serves(self) -> None:
        """Traffic is the stable revision's, but for the live candidate's share."""
        if hasattr(self, "status") and self.status.traffic:
            rollout = self.status.rollout
            live = rollout if rollout is not None and rollout.ended_at is None else None
            allowed = {self.status.stable_revision or ALWAYS_STRONG}
            weight = live.steps[-1].weight_permille if live is not None and live.steps else 0
            if live is not None and weight:
                allowed.add(live.candidate)
            assert {share.revision for share in self.status.traffic} == allowed


def check_transition(before: RoutingPolicyStatus, after: RoutingPolicyStatus, o: Observation) -> None:
    """Assert what one write may change."""
    old, new = before.rollout, after.rollout
    if old is not None and new is not None and old.id == new.id:
        assert new.steps[: len(old.steps)] == old.steps, "history is not rewritten"
        assert len(new.steps) <= len(old.steps) + 1, "one transition a write"
        assert old.ended_at is None or new == old, "what has ended stays as it ended"
    ended = new is not None and new.ended_at is not None
    if ended and (old is None or old.ended_at is None) and new is not None and new.outcome != "Promoted":
        resting = after.stable_revision or ALWAYS_STRONG
        assert [(s.revision, s.weight_permille) for s in after.traffic] == [(resting, 1000)], "in one write"
    if after.stable_revision != before.stable_revision and after.stable_revision is not None:
        assert after.stable_revision == o.desired
        assert [(s.revision, s.weight_permille) for s in after.traffic] == [(o.desired, 1000)]
    grown = {a.uid for a in after.last_actions} - {a.uid for a in before.last_actions}
    assert len(grown) <= 1, "one word a write"
    if o.policy.spec.suspend and not grown:
        raised = {s.revision: s.weight_permille for s in after.traffic}.get(o.desired, 0)
        had = {s.revision: s.weight_permille for s in before.traffic}.get(o.desired, 0)
        assert raised <= had or after.stable_revision == o.desired, "suspend raises no weight"
    for step in new.steps if new is not None else []:
        assert unix(step.started_at) > 0


def evidence(counts: str, made: RoutingPolicy, now_s: float) -> Evidence:
    """Return canned counts: enough of one kind to decide one thing."""
    asked = question(made)
    troubles = {"none": Trouble.NOT_YET, "stale": Trouble.STALE, "away": Trouble.UNREACHABLE}
    if counts in troubles:
        return Evidence(at_s=now_s, trouble=troubles[counts])
    halves = tuple(HalfWindow(Tally(900, 1000), Tally(900, 1000)) for _ in range(8))
    rubrics = (RUBRIC, *GUARDS)
    bad = counts.startswith("bad")
    pairs = PairCounts(both=800, only_incumbent=400 if bad else 0)
    seen = Evidence(
        at_s=now_s, scored_until_s=now_s, halves={StreamKey(rubric): halves for rubric in rubrics}
    )
    if "shadow" in counts or "canary" in counts:
        seen = replace(seen, shadow={StreamKey(rubric): pairs for rubric in (RUBRIC, "answered")})
    if "canary" in counts and asked.steps:
        index, began = asked.steps[-1]
        arms = Tally(9900, 10000), Tally(5000 if bad else 9900, 10000)
        cells = tuple(Window(index, began + 5 * n, *arms) for n in range(3))
        seen = replace(seen, canary={StreamKey(rubric): cells for rubric in rubrics})
    return seen


TestAnyRollout = AnyRollout.TestCase
TestAnyRollout.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
