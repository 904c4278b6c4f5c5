"""Is what Prometheus says of a rollout fresh, and of how many evaluators. Pure.

A counter that is missing means zero only where its evaluator is known to have been asked just now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from pointsman.rollout.evidence import Trouble
from pointsman.rollout.reading.series import RolloutKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.rollout.reading.series import Series

LEAST_S: Final = 15.0
"""A scrape that is younger than this is fresh, however often there are scrapes."""
INTERVALS: Final = 3
GRACE_S: Final = 30.0
"""How long a rollout may be unknown to the evaluator before that is called trouble."""


class Instance(NamedTuple):
    """One evaluator, as Prometheus names it."""

    job: str
    instance: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When each evaluator was last scraped. Times are Prometheus' own, in ms."""

    now_ms: int
    evaluators: Mapping[Instance, int] = field(default_factory=dict)
    rollouts: Mapping[RolloutKey, Mapping[Instance, int]] = field(default_factory=dict)

    @property
    def newest_ms(self) -> int:
        """The newest scrape: the moment that all counts are read at."""
        return max(self.evaluators.values(), default=self.now_ms)

    @property
    def settled_ms(self) -> int:
        """Before this, every evaluator has been scraped again: what was counted then does not change."""
        return min(self.evaluators.values(), default=0)


def heartbeat(series: Iterable[Series]) -> Heartbeat:
    """Read the answer to `timestamp(<per rollout>) or timestamp(<per evaluator>) or vector(time())`."""
    now_ms = 0
    evaluators: dict[Instance, int] = {}
    rollouts: dict[RolloutKey, dict[Instance, int]] = {}
    for one in series:
        at_ms = round(one.last * 1000)
        instance = Instance(one.labels.get("job", ""), one.labels.get("instance", ""))
        if "rollout" in one.labels:
            rollouts.setdefault(one.rollout, {})[instance] = at_ms
        elif one.labels:
            evaluators[instance] = at_ms
        else:
            now_ms = at_ms
    return Heartbeat(now_ms, evaluators, rollouts)


def intervals(series: Iterable[Series]) -> dict[Instance, float]:
    """Return the seconds between scrapes of each evaluator, from its raw samples."""
    found = {}
    for one in series:
        times = [at for at, _ in one.points]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        if gaps:
            instance = Instance(one.labels.get("job", ""), one.labels.get("instance", ""))
            found[instance] = median(gaps) / 1000
    return found


class Freshness:
    """Judges heartbeats; remembers the last one, to notice an evaluator that vanishes."""

    def __init__(self) -> None:
        self.intervals: dict[Instance, float] = {}
        self._beat = Heartbeat(0)
        self._seen: dict[RolloutKey, dict[Instance, int]] = {}

    def take(self, beat: Heartbeat) -> None:
        """Take the newest heartbeat."""
        for key in [key for key in self._seen if key not in beat.rollouts]:
            del self._seen[key]
        for key, instances in beat.rollouts.items():
            known = self._seen.get(key, {})
            lost = {
                instance: at
                for instance, at in known.items()
                if instance not in instances and beat.now_ms - at <= self._limit_s(instance) * 1000
            }
            self._seen[key] = lost | dict(instances)
        self._beat = beat

    def of_evaluator(self) -> str:
        """Return why nothing can be said of policies without a rollout; "" if all is well."""
        if not self._beat.evaluators:
            return "Prometheus knows no evaluator; have it scrape the evaluator's /metrics"
        return next(
            (words for words in map(self._late, *zip(*self._beat.evaluators.items(), strict=True)) if words),
            "",
        )

    def of_rollout(self, key: RolloutKey, begun_s: float) -> tuple[Trouble, str] | None:
        """Return what is wrong with the evidence of a rollout that began at `begun_s`; None: it is fresh."""
        instances = self._beat.rollouts.get(key, {})
        if not instances:
            words = "the evaluator does not tell of this rollout"
            if not self._beat.evaluators:
                words = "Prometheus knows no evaluator; have it scrape the evaluator's /metrics"
            young = self._beat.now_ms / 1000 - begun_s < GRACE_S
            return (Trouble.NOT_YET if young else Trouble.STALE), words
        for instance, at_ms in instances.items():
            late = self._late(instance, at_ms)
            if late:
                return Trouble.STALE, late
        for instance in self._seen[key].keys() - instances.keys():
            return (
                Trouble.STALE,
                f"the evaluator at {instance.instance} was just lost: its counts are missing",
            )
        newest = max(instances.values())
        for instance, at_ms in instances.items():
            # of two evaluators one may be what Prometheus still believes of a past one: counted twice
            if newest - at_ms > 1500 * self.intervals.get(instance, LEAST_S) + 1000:
                return Trouble.STALE, f"the evaluator at {instance.instance} is behind the others"
        return None

    def _limit_s(self, instance: Instance) -> float:
        return max(LEAST_S, INTERVALS * self.intervals.get(instance, 0.0))

    def _late(self, instance: Instance, at_ms: int) -> str:
        age_s = (self._beat.now_ms - at_ms) / 1000
        limit_s = self._limit_s(instance)
        if age_s <= limit_s:
            return ""
        told = f"{age_s:.0f} s ago (at most {limit_s:.0f} s)"
        return f"the evaluator at {instance.instance} was last scraped {told}"
