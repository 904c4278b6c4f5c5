"""The operator's gauges of statuses: what is shown, and that it goes with what it told of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pointsman.api.v1alpha1.meta import Condition
from pointsman.api.v1alpha1.status import RolloutStatus, RoutingPolicyStatus, StepStatus, VerdictStatus
from pointsman.controllers.rollout_metrics import RolloutMetrics
from pointsman.rollout.moments import moment

BEGUN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class World:
    """A registry and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = BEGUN
        self.registry = CollectorRegistry()
        self.metrics = RolloutMetrics(self.registry, lambda: self.now)

    def text(self) -> str:
        """Return what a scrape would read."""
        return generate_latest(self.registry).decode() + self.metrics.render().decode()

    def value(self, name: str, **labels: str) -> float | None:
        """Return one series' number."""
        wanted = {"namespace": "chat", "policy": "support"} | labels
        samples = [one for family in text_string_to_metric_families(self.text()) for one in family.samples]
        return next((one.value for one in samples if (one.name, one.labels) == (name, wanted)), None)


def status(*, ended: datetime | None = None, ready: str = "True") -> RoutingPolicyStatus:
    """Return the status of a canary with one verdict."""
    at = moment(BEGUN)
    condition = Condition(
        type="ClassifierReady",
        status="True" if ready == "True" else "False",
        observed_generation=1,
        last_transition_time=at,
        reason=ready if ready != "True" else "Loaded",
        message="m",
    )
    rollout = RolloutStatus(
        id="r1",
        candidate="support-b",
        incumbent="support-a",
        started_at=at,
        ended_at=moment(ended) if ended else None,
        outcome="Promoted" if ended else None,
    )
    verdict = VerdictStatus(rubric="correct", intent="law", stage="Canary", candidate=93, verdict="Undecided")
    return RoutingPolicyStatus(
        conditions=[condition],
        stable_revision="support-a",
        candidate_revision="support-b",
        rollout=rollout,
        step=StepStatus(name="Canary", started_at=at),
        verdicts=[verdict],
    )


VERDICT = {"rollout": "r1", "stage": "Canary", "rubric": "correct", "intent": "law"}


def test_a_verdict_is_shown_with_its_bounds() -> None:
    """Interval, margins and samples, by rubric and intent."""
    world = World()
    world.metrics.show("chat", "support", status())
    assert world.value("pointsman_verdict_permille", **VERDICT, bound="high") == 1000
    assert world.value("pointsman_verdict_samples", **VERDICT, arm="candidate") == 93


def test_verdicts_go_after_the_end_of_their_rollout() -> None:
    """They are shown for a quarter of an hour more; a new process does not bring old ones back."""
    world = World()
    world.metrics.show("chat", "support", status(ended=BEGUN))
    world.now = BEGUN + timedelta(minutes=14)
    assert "pointsman_verdict_permille{" in world.text()
    world.now = BEGUN + timedelta(minutes=16)
    assert "pointsman_verdict_permille{" not in world.text()
    world.metrics.show("chat", "support", status(ended=BEGUN))
    assert "pointsman_verdict_permille{" not in world.text()


def test_a_reason_goes_when_it_is_over() -> None:
    """A condition that is True again has no series."""
    world = World()
    world.metrics.show("chat", "support", status(ready="TritonUnreachable"))
    labels = {"condition": "ClassifierReady", "status": "False", "reason": "TritonUnreachable"}
    assert world.value("pointsman_policy_unready", **labels) == 1
    world.metrics.show("chat", "support", status())
    assert "pointsman_policy_unready{" not in world.text()


def test_a_policy_that_is_gone_leaves_nothing() -> None:
    """No series of it stays behind."""
    world = World()
    world.metrics.show("chat", "support", status())
    world.metrics.forget("chat", "support")
    assert "support" not in world.text()


def test_any_intent_can_be_written() -> None:
    """An intent is a word of the user's classifier, quotes and all."""
    world = World()
    odd = 'a "b" \\ c'
    verdict = status().verdicts[0].model_copy(update={"intent": odd})
    world.metrics.show("chat", "support", status().model_copy(update={"verdicts": [verdict]}))
    assert world.value("pointsman_verdict_samples", **VERDICT | {"intent": odd}, arm="candidate") == 93


def test_every_family_is_there_before_the_first_policy() -> None:
    """With its help, and as a gauge."""
    found = {family.name: family for family in text_string_to_metric_families(World().text())}
    for name in ("pointsman_policy_ready", "pointsman_rollout_info", "pointsman_verdict_permille"):
        assert found[name].type == "gauge"
        assert found[name].documentation
