"""What a router is worth: its choices held against a random split of the same shares, on the same prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class Edge:
    """Accuracy of a router minus that of a random split with the same share per tier, with its interval."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval: bootstrap over groups of like questions."""


def choose(scores: NDArray[Any], thresholds: Sequence[int]) -> NDArray[np.int64]:
    """Return the cheapest tier [n] whose score [n, T] reaches its threshold (permille), else the last."""
    reached = scores[:, :-1] >= np.asarray(thresholds) / PERMILLE
    return np.where(reached.any(axis=1), reached.argmax(axis=1), scores.shape[1] - 1).astype(np.int64)


def accuracy(correct: NDArray[Any], choice: NDArray[Any]) -> float:
    """Return the mean of what the chosen tiers reach; `correct` is [n, T], `choice` [n]."""
    return float(np.take_along_axis(correct, choice[:, None], axis=1).mean())


def at_random(correct: NDArray[Any], choice: NDArray[Any]) -> float:
    """Return the accuracy to expect when the same shares are dealt out at random."""
    shares = np.bincount(choice, minlength=correct.shape[1]) / len(choice)
    return float(shares @ correct.mean(axis=0))


def edge(
    correct: NDArray[Any],
    choice: NDArray[Any],
    groups: Sequence[str],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Edge:
    """Return the paired edge over a random split, with a 95 % bootstrap interval clustered by group."""
    value = accuracy(correct, choice) - at_random(correct, choice)
    tiers = correct.shape[1]
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    rows = np.column_stack(
        [
            np.ones(len(choice)),
            np.take_along_axis(correct, choice[:, None], axis=1),
            np.eye(tiers)[choice],
            correct,
        ]
    )
    sums = np.zeros((group.max() + 1, rows.shape[1]))
    np.add.at(sums, group, rows)
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for at in range(0, resamples, 250):  # in blocks: the weights are [250, groups]
        block = min(250, resamples - at)
        weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=block)
        drawn = weights @ sums
        n = drawn[:, 0]
        dealt = (drawn[:, 2 : 2 + tiers] * drawn[:, 2 + tiers :]).sum(axis=1) / n**2
        draws[at : at + block] = drawn[:, 1] / n - dealt
    low, high = np.quantile(draws, [0.025, 0.975])
    return Edge(value, float(low), float(high))


def threshold_for_share(scores: NDArray[Any], strong_share: float) -> int:
    """Return the threshold (permille, for every tier but the last) that comes closest to a strong share.

    `scores` is [n, T] and must come from data that the classifier was not fitted on. Of equals, the lowest.
    """
    best = np.sort(scores[:, :-1].max(axis=1))
    candidates = np.arange(PERMILLE + 1)
    shares = np.searchsorted(best, candidates / PERMILLE, side="left") / len(best)
    return int(candidates[np.abs(shares - strong_share).argmin()])


def auroc(scores: NDArray[Any], positive: NDArray[Any]) -> float:
    """Return the probability that a positive row scores above a negative one; ties count half."""
    positive = np.asarray(positive, dtype=bool)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def calibration_error(probability: NDArray[Any], outcome: NDArray[Any], bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal counts."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(probability[part].mean() - outcome[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(probability))


def tie_share(scores: NDArray[Any]) -> float:
    """Return the part of the rows that carry the most frequent score."""
    return float(np.unique(scores, return_counts=True)[1].max() / len(scores))
