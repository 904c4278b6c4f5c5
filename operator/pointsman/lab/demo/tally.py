"""What clients saw, counted as it happens: by revision and tier, rights and wrongs, money. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from pointsman.lab.demo.result import Price
from pointsman.lab.load import Outcome


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over requests. Differences of two are sums, too."""

    requests: int = 0
    failed: int = 0
    """Not 200, or none of the lab's tiers answered."""
    empty: int = 0
    """200 without a word."""
    right: int = 0
    cost_usd: float = 0.0
    strong_cost_usd: float = 0.0
    """What the strong model's recorded answers to the same prompts cost."""

    def __sub__(self, earlier: Counts) -> Counts:
        """Return what came since."""
        return Counts(*(getattr(self, name) - getattr(earlier, name) for name in Counts.__slots__))

    @property
    def accuracy(self) -> float:
        """Share of right answers of all requests; nan where there was none."""
        return self.right / self.requests if self.requests else float("nan")

    @property
    def saved(self) -> float:
        """Share of the strong model's cost that was not spent; nan where nothing was sent."""
        return 1 - self.cost_usd / self.strong_cost_usd if self.strong_cost_usd else float("nan")


@dataclass(slots=True)
class Tally:
    """Counts outcomes as they come. `now_minus_monotonic` turns the load's clock into Unix time."""

    answers: Mapping[str, str]
    """The right letter, by prompt id."""
    strong_cost: Mapping[str, float]
    """What the strong model's answer costs, by prompt id."""
    prices: Mapping[str, Price]
    """By tier."""
    letter: Callable[[str], str | None]
    now_minus_monotonic: float
    by_tier: Counter[str] = field(default_factory=Counter)
    by_revision: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    last_sent: dict[str, float] = field(default_factory=dict)
    """By revision: when the last request that it decided was sent, Unix time."""
    _counts: Counts = field(default_factory=Counts)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        price = self.prices.get(outcome.tier)
        well = outcome.status == HTTPStatus.OK and price is not None
        counts = self._counts
        self._counts = Counts(
            counts.requests + 1,
            counts.failed + (not well),
            counts.empty + (well and not outcome.text),
            counts.right + (well and self.letter(outcome.text) == self.answers[outcome.prompt]),
            counts.cost_usd + (price.of(outcome) if price is not None else 0.0),
            counts.strong_cost_usd + self.strong_cost[outcome.prompt],
        )
        self.by_tier[outcome.tier or "none"] += 1
        self.by_revision[outcome.revision or "none"] += 1
        if not well:
            self.errors[f"status {outcome.status} {outcome.error}".strip()] += 1
        sent = outcome.sent_at + self.now_minus_monotonic
        self.last_sent[outcome.revision] = max(sent, self.last_sent.get(outcome.revision, 0.0))

    def counts(self) -> Counts:
        """Return the sums so far."""
        return self._counts
