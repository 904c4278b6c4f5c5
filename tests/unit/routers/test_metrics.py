"""What a router is worth, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pointsman.routers import metrics

CORRECT = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])


def test_choose_takes_the_cheapest_that_reaches() -> None:
    """Of several tiers at their thresholds the first serves; of none, the last."""
    scores = np.array([[0.9, 0.9, 1], [0.5, 0.9, 1], [0.5, 0.5, 1], [0.8, 0.1, 1]])
    assert metrics.choose(scores, [800, 800]).tolist() == [0, 1, 2, 0]


def test_accuracy_and_random_by_hand() -> None:
    """Routing the second prompt to the strong tier is right on three of four; a quarter at random, on two."""
    choice = np.array([0, 1, 0, 0])
    assert metrics.accuracy(CORRECT, choice) == 0.75
    assert metrics.at_random(CORRECT, choice) == 0.5


@pytest.mark.parametrize("choice", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_one_tier_alone_has_no_edge(choice: list[int]) -> None:
    """A router that always says the same is a random split of that share."""
    found = metrics.edge(CORRECT, np.array(choice), ["a", "b", "c", "d"])
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_edge_interval_covers() -> None:
    """For choices made blindly, 95 % intervals hold 0 in about 95 of 100 repetitions."""
    rng = np.random.default_rng(1)
    covered = 0
    for at in range(200):
        groups = [str(group) for group in rng.integers(0, 150, 200)]
        correct = (rng.random((200, 2)) < [0.6, 0.7]).astype(float)
        found = metrics.edge(correct, rng.integers(0, 2, 200), groups, resamples=300, seed=at)
        covered += found.low <= 0 <= found.high
    assert 180 <= covered <= 199


def test_edge_counts_a_repeated_group_once() -> None:
    """The same questions five times over do not narrow the interval."""
    rng = np.random.default_rng(2)
    correct = (rng.random((200, 2)) < 0.6).astype(float)
    choice = rng.integers(0, 2, 200)
    groups = [str(at) for at in range(200)]
    once = metrics.edge(correct, choice, groups)
    five = metrics.edge(np.tile(correct, (5, 1)), np.tile(choice, 5), groups * 5)
    assert five.high - five.low == pytest.approx(once.high - once.low, rel=0.15)


def test_edge_for_three_tiers() -> None:
    """With three tiers the random split deals out all three shares."""
    correct = np.eye(3)
    found = metrics.edge(correct, np.array([0, 1, 2]), ["a", "b", "c"])
    assert found.value == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_threshold_for_share(share: float) -> None:
    """The threshold sends the wanted share to the strong tier, as near as the scores allow."""
    scores = np.column_stack([np.linspace(0.2, 0.8, 1001), np.ones(1001)])
    threshold = metrics.threshold_for_share(scores, share)
    assert metrics.choose(scores, [threshold]).mean() == pytest.approx(share, abs=0.002)


def test_threshold_with_ties() -> None:
    """Where all scores are equal, the nearer of all and nothing is chosen."""
    scores = np.column_stack([np.full(10, 0.5), np.ones(10)])
    assert metrics.choose(scores, [metrics.threshold_for_share(scores, 0.1)]).mean() == 0
    assert metrics.choose(scores, [metrics.threshold_for_share(scores, 0.9)]).mean() == 1


def test_auroc_by_hand() -> None:
    """Three of four pairs in order, ties counted half; nan where one kind lacks."""
    assert metrics.auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert metrics.auroc(np.array([0.5, 0.5]), np.array([0, 1])) == 0.5
    assert math.isnan(metrics.auroc(np.array([0.5, 0.5]), np.array([1, 1])))


def test_calibration_error_by_hand() -> None:
    """The mean gap between said and seen over bins of equal counts."""
    said = np.array([0.2] * 5 + [0.8] * 5)
    seen = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0])
    assert metrics.calibration_error(said, seen, bins=2) == pytest.approx((0 + 0.2) / 2)


def test_tie_share_by_hand() -> None:
    """The part of the rows with the most frequent score."""
    assert metrics.tie_share(np.array([1, 2, 2, 3])) == 0.5
