"""How far scoring is, for each live rollout: without it, counts that stand still would look like calm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.evaluator.evidence import rollout_scope
from pointsman.evaluator.membership import Solo
from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from pointsman.clock import Clock
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.scoring import Scoring

SCORED_UNTIL: Final = "pointsman_rollout_scored_until_timestamp_seconds"


class Watermark(Collector):
    """A gauge for every live rollout that we know."""

    def __init__(
        self, scoring: Scoring, policies: Policies, clock: Clock, member: Membership | None = None
    ) -> None:
        self._scoring = scoring
        self._policies = policies
        self._clock = clock
        self._member = member or Solo()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge; without samples until what an earlier process left is known."""
        gauge = GaugeMetricFamily(
            SCORED_UNTIL,
            "Unix time up to which every request received of the rollout's policy is scored or given up.",
            labels=("namespace", "policy", "rollout"),
        )
        if self._scoring.resumed and self._member.trusted:
            now_us = micros(self._clock)
            silent_us = self._member.silent_us()
            if silent_us is not None:  # nobody knows what that replica has not stored or scored yet
                now_us = min(now_us, silent_us)
            until = self._scoring.scored_until_us(now_us)
            for policy, rollout in self._policies.live.items():
                gauge.add_metric(
                    rollout_scope(policy, rollout.id), min(until.get(policy, now_us), now_us) / 1_000_000
                )
        yield gauge

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: the name is checked where it is declared."""
        return ()
