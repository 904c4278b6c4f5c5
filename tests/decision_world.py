"""Simulated arms, many streams at once: what the decision rule is held against, in tests and in a bench."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, pi, sin

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pointsman.stats.block import Prepared, log_evidence
from pointsman.stats.canary import FAIL_GAPS, pass_gaps
from pointsman.stats.types import Blocks, Halves

Array = NDArray[np.float64]
DAY = 96
"""Windows of 15 minutes in a day."""


@dataclass(frozen=True, slots=True)
class World:
    """Two arms that are served side by side. Shares 0..1."""

    weights: tuple[float, ...]
    """The candidate's share in each window."""
    per_window: int = 450
    looks: int = 10
    """Looks in a window: the last at its end."""
    level: float = 0.94
    drop: float = 0.0
    cycle: float = 0.0
    """How far the level swings up and down over a day, in both arms."""
    shock: float = 0.0
    """Standard deviation of what hits one arm in one window alone."""
    breaks_at: int = 0
    """The window from which on the candidate is worse by `drop`."""

    def rates(self, window: int, streams: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return both arms' true rates in this window, [streams] each."""
        level = self.level + self.cycle * sin(2 * pi * window / DAY)
        drop = self.drop if window >= self.breaks_at else 0.0
        shocks = rng.normal(0.0, self.shock, (2, streams)) if self.shock else np.zeros((2, streams))
        both = np.clip(np.array([[level], [level - drop]]) + shocks, 0.0, 1.0)
        return both[0], both[1]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Cumulative counts of the window so far, [4, streams]: passes and total, incumbent and candidate."""

    window: int
    last: bool
    counts: Array


def looks(world: World, streams: int, rng: np.random.Generator) -> Iterator[Look]:
    """Serve the windows one after the other and stop at every look."""
    sizes = np.diff(np.linspace(0, world.per_window, world.looks + 1).astype(int))
    for window, weight in enumerate(world.weights):
        p_i, p_c = world.rates(window, streams, rng)
        counts = np.zeros((4, streams))
        for at, size in enumerate(sizes):
            n_c = rng.binomial(size, weight, streams)
            n_i = size - n_c
            counts += np.array([rng.binomial(n_i, p_i), n_i, rng.binomial(n_c, p_c), n_c])
            yield Look(window, at + 1 == len(sizes), counts.copy())


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """When the evidence of each stream first reached 1/alpha."""

    samples: Array
    """The candidate's scored samples by then; inf where it never did."""
    windows: Array
    """The window of it; inf where it never did."""

    @property
    def share(self) -> float:
        """Return the share of streams that crossed."""
        return float(np.isfinite(self.samples).mean())


def fails(
    world: World,
    streams: int,
    rng: np.random.Generator,
    *,
    minimum_drop: float,
    alpha: float,
    tau: float = 0.0,
    starts: tuple[int, ...] = (0,),
    prior: float | None = None,
) -> Crossings:
    """Run the Fail test at every look."""
    return _run(world, streams, rng, _Test(minimum_drop, alpha, tau, FAIL_GAPS, starts, prior))


def passes(
    world: World,
    streams: int,
    rng: np.random.Generator,
    *,
    margin: float,
    alpha: float,
    tau: float = 0.0,
    prior: float | None = None,
) -> Crossings:
    """Run the Pass test at every look."""
    return _run(world, streams, rng, _Test(margin, alpha, tau, pass_gaps(margin), None, prior))


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    delta0: float
    alpha: float
    tau: float
    gaps: Array
    starts: tuple[int, ...] | None
    """None: one process of full weight."""
    prior: float | None

    @property
    def weights(self) -> Array:
        """Logarithm of each start's weight."""
        place = np.arange(1, len(self.starts or ()) + 1)
        return np.zeros(1) if self.starts is None else -np.log(place * (place + 1.0))


def _run(world: World, streams: int, rng: np.random.Generator, test: _Test) -> Crossings:
    starts, weights = test.starts or (0,), test.weights
    closed = np.zeros((len(test.gaps), streams))
    begun: list[Array] = []
    weight, centre = (2.0, 0.5) if test.prior is None else (20.0, test.prior)
    incumbent = np.array([[weight * centre], [weight]]) * np.ones((1, streams))
    served = np.zeros(streams)
    samples, windows = np.full(streams, np.inf), np.full(streams, np.inf)
    for look in looks(world, streams, rng):
        while len(begun) < len(starts) and starts[len(begun)] <= look.window:
            begun.append(closed.copy())
        logs = closed + _evidence(look.counts, incumbent[0] / incumbent[1], test)
        since = logs - np.array(begun)
        total = logsumexp(since + weights[: len(begun), None, None], axis=(0, 1)) - log(len(test.gaps))
        new = (total >= -log(test.alpha)) & np.isinf(samples)
        samples[new], windows[new] = (served + look.counts[3])[new], look.window
        if look.last:
            closed, incumbent, served = logs, incumbent + look.counts[:2], served + look.counts[3]
            if np.isfinite(samples).all():
                break
    return Crossings(samples, windows)


def _evidence(counts: Array, before: Array, test: _Test) -> Array:
    passes_i, n_i, passes_c, n_c = counts
    logs = np.zeros((len(test.gaps), counts.shape[1]))
    index = np.flatnonzero((n_i > 0) & (n_c > 0))
    logs[:, index] = log_evidence(
        Prepared(
            passes_i=passes_i[index],
            fails_i=(n_i - passes_i)[index],
            total_i=n_i[index],
            passes_c=passes_c[index],
            fails_c=(n_c - passes_c)[index],
            total_c=n_c[index],
            before=np.clip(before[index], 1e-3, 1 - 1e-3),
            index=index,
        ),
        test.delta0,
        test.gaps,
        test.tau,
    )
    return logs


def blocks(world: World, rng: np.random.Generator, *, prior: float | None = None) -> Blocks:
    """Return one stream's windows as the reader gets them."""
    ends = np.array([look.counts[:, 0] for look in looks(world, 1, rng) if look.last]).T
    return Blocks(ends[0], ends[1], ends[2], ends[3], prior=prior)


def halves(world: World, windows: int, rng: np.random.Generator) -> Halves:
    """Return the incumbent's own halves; shocks hit each half alone."""
    same = World(
        weights=(0.5,) * windows, per_window=world.per_window, looks=1, level=world.level,
        cycle=world.cycle, shock=world.shock,
    )  # fmt: skip
    ends = np.array([look.counts[:, 0] for look in looks(same, 1, rng)]).T
    return Halves(*ends)


def ramp(*steps: tuple[float, int]) -> tuple[float, ...]:
    """Return the weight of every window, from (weight, windows) a step."""
    return tuple(weight for weight, windows in steps for _ in range(windows))
