"""The counters as Prometheus sees them: what is stored, and never more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import Counter as PromCounter
from prometheus_client import Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from pointsman.evaluator.exposition import Exposition
from pointsman.evaluator.totals import Name, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


class Totals(Collector):
    """The stored counters, added to only after their transaction, and what is not stored (drops, refusals).

    A scrape therefore never sees a count that a crash could take back.
    """

    def __init__(self, stored: Mapping[Series, int]) -> None:
        self._stored = Counter(stored)
        self._passing: Counter[Series] = Counter()
        self._estate: tuple[str, Counter[Series]] = "", Counter()
        self._exposition = Exposition()
        self.trusted: Callable[[], bool] = _always
        """Whether the counts may be shown: of several evaluators, another may have taken them over."""
        self._exposition.know((*self._stored, Series(Name.ENTRIES, ())))
        self._lost_known = False
        self.lost_known = any(series.family == Name.LOST for series in stored)

    @property
    def lost_known(self) -> bool:
        """Whether any Envoy was ever asked: without that there is no number of losses, not even zero."""
        return self._lost_known

    @lost_known.setter
    def lost_known(self, known: bool) -> None:
        self._lost_known = known
        if known:
            self._exposition.know([Series(Name.LOST, ())])

    def add(self, counts: Mapping[Series, int]) -> None:
        """Take in what a transaction has added."""
        self._stored.update(counts)
        self._exposition.know(counts)

    def take_over(self, label: str, counts: Mapping[Series, int]) -> None:
        """Show what dead evaluators have counted beside our own, in place of what was shown so before."""
        self._estate = label, Counter(counts)
        self._exposition.settle(*self._estate)

    def note(self, series: Series, amount: int = 1) -> None:
        """Count what is not in the store: starts at zero with each process."""
        self._passing[series] += amount
        self._exposition.know([series])

    def drop(self, gone: Iterable[Series]) -> None:
        """Forget series for good."""
        for series in gone:
            self._stored.pop(series, None)
            self._passing.pop(series, None)
            self._exposition.forget(series)
            self._estate[1].pop(series, None)
        self._exposition.settle(*self._estate)

    def stored(self) -> dict[Series, int]:
        """Return what was taken in so far, but for what was taken over."""
        return dict(self._stored)

    def known(self) -> frozenset[Series]:
        """Return the stored series that are shown."""
        return frozenset(self._stored) | frozenset(self._estate[1])

    def lose(self, counts: Mapping[Series, int]) -> None:
        """Take out what another evaluator counts from now on."""
        self._stored.subtract(counts)

    def value(self, series: Series) -> int:
        """Return a series' value in stored units, but for what was taken over."""
        return self._stored[series] + self._passing[series]

    def __len__(self) -> int:
        return len(self._stored)

    def render(self) -> bytes:
        """Return all of it in Prometheus's text format; cheap, for it is scraped every few seconds."""
        return self._exposition.render(self.value) if self.trusted() else b""

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from text_string_to_metric_families(self.render().decode())

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: names are checked where they are declared."""
        return ()


def _always() -> bool:
    return True


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
        self.store_up = Gauge(
            "pointsman_evaluator_store_up",
            "1 while the store takes rows, 0 since a transaction failed.",
            registry=registry,
        )
        self.store_up.set(1)
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
        self._add_looks(registry)

    def _add_looks(self, registry: CollectorRegistry) -> None:
        """Add those of looks at Envoys."""
        self.polls = PromCounter(
            "pointsman_evaluator_envoy_polls_total",
            "Looks at Envoys' own counts, each attempt; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.gone = PromCounter(
            "pointsman_evaluator_envoys_gone_total",
            "Envoys that went away or were started anew. What one finished after the last look and had not "
            "delivered is not known; last_look is idle (nothing was under way), busy or never.",
            ["last_look"],
            registry=registry,
        )
        self.poll_seconds = Histogram(
            "pointsman_evaluator_envoy_poll_duration_seconds",
            "Duration of a look.",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2),
        )


class ScoringMetrics:
    """How scoring fares."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pending = Gauge(
            "pointsman_evaluator_pending_requests", "Requests that are not scored yet.", registry=registry
        )
        self.seconds = Histogram(
            "pointsman_evaluator_scoring_duration_seconds",
            "From a request's row to its scores being stored.",
            registry=registry,
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60),
        )
        self.errors = PromCounter(
            "pointsman_evaluator_scoring_errors_total",
            "Requests that no rubric could be asked about because of an error of ours.",
            registry=registry,
        )
