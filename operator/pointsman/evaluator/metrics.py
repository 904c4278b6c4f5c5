"""The counters as Prometheus sees them: what is stored, and never more."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from prometheus_client import Counter as PromCounter
from prometheus_client import Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pointsman.evaluator.totals import FAMILIES, Family, Name, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class Totals(Collector):
    """The stored counters, added to only after their transaction, and what is not stored (drops, refusals).

    A scrape therefore never sees a count that a crash could take back.
    """

    def __init__(self, stored: Mapping[Series, int]) -> None:
        self._stored = Counter(stored)
        self._passing: Counter[Series] = Counter()
        self.lost_known = any(series.family == Name.LOST for series in stored)
        """Whether any Envoy was ever asked: without that there is no number of losses, not even zero."""

    def add(self, counts: Mapping[Series, int]) -> None:
        """Take in what a transaction has added."""
        self._stored.update(counts)

    def note(self, series: Series, amount: int = 1) -> None:
        """Count what is not in the store: starts at zero with each process."""
        self._passing[series] += amount

    def drop(self, gone: Iterable[Series]) -> None:
        """Forget series for good."""
        for series in gone:
            self._stored.pop(series, None)
            self._passing.pop(series, None)

    def value(self, series: Series) -> int:
        """Return a series' value in stored units."""
        return self._stored[series] + self._passing[series]

    def __len__(self) -> int:
        return len(self._stored)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        values = self._stored + self._passing
        by_family: dict[str, dict[Series, int]] = defaultdict(dict)
        for series, value in values.items():
            by_family[series.family][series] = value
        for name, family in FAMILIES.items():
            found = by_family[name]
            if name == Name.ENTRIES or (name == Name.LOST and self.lost_known):
                found.setdefault(Series(name, ()), 0)
            yield _histogram(family, found) if family.kind == "histogram" else _counter(family, found)

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: names are checked where they are declared."""
        return ()


def _counter(family: Family, found: Mapping[Series, int]) -> CounterMetricFamily:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for series, value in found.items():
        metric.add_metric(series.labels, value / family.unit)
    return metric


def _histogram(family: Family, found: Mapping[Series, int]) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    rows: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for series, value in found.items():
        rows[series.labels][series.part] = value
    bounds = [repr(bound / family.unit) for bound in family.bounds] + ["+Inf"]
    for labels, parts in rows.items():
        running, buckets = 0, []
        for index, bound in enumerate(bounds):
            running += parts.get(str(index), 0)
            buckets.append((bound, float(running)))
        metric.add_metric(labels, buckets, sum_value=parts.get("sum", 0) / family.unit)
    return metric


class ProcessMetrics:
    """How the evaluator itself fares."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.dropped = PromCounter(
            "pointsman_evaluator_dropped_total",
            "Entries and texts that were received and not stored; because is queue_full or store_failed.",
            ["what", "because"],
            registry=registry,
        )
        self.duplicates = PromCounter(
            "pointsman_evaluator_duplicates_total",
            "Entries and texts that were stored already.",
            registry=registry,
        )
        self.ignored = PromCounter(
            "pointsman_evaluator_ignored_entries_total",
            "Entries that do not end a request, or could not be read.",
            registry=registry,
        )
        self.queue = Gauge(
            "pointsman_evaluator_queue_items", "Entries and texts that wait for the store.", registry=registry
        )
        self.streams = Gauge(
            "pointsman_evaluator_access_log_streams", "Access log streams from Envoys.", registry=registry
        )
        self.writes = PromCounter(
            "pointsman_evaluator_store_writes_total",
            "Transactions, each attempt; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.write_seconds = Histogram(
            "pointsman_evaluator_store_write_duration_seconds",
            "Duration of a transaction.",
            registry=registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
        )
        self.swept = PromCounter(
            "pointsman_evaluator_swept_total",
            "Rows whose time was over; what is text or request.",
            ["what"],
            registry=registry,
        )
        self.polls = PromCounter(
            "pointsman_evaluator_envoy_polls_total",
            "Looks at Envoys' own counts, each attempt; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.poll_seconds = Histogram(
            "pointsman_evaluator_envoy_poll_duration_seconds",
            "Duration of a look.",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2),
        )
