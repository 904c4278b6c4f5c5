"""The linear router on real outcomes: the figures that the examples and the demo rely on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pointsman.routers import dataset
from pointsman.routers.train import Trained, train
from pointsman.triton import bundle as bundles

DATA = Path(__file__).parents[3] / "data" / "mmlu-pro"


@pytest.fixture(scope="module")
def trained() -> tuple[Trained, float]:
    """Train on the pair of the examples; return it with the CPU seconds that it took."""
    problem = dataset.load(DATA, ["gemini-1.5-flash-002", "gemini-1.5-pro-002"])
    start = time.process_time()
    return train(problem), time.process_time() - start


def test_beats_a_random_split(trained: tuple[Trained, float]) -> None:
    """On 2,505 unseen prompts the edge's 95 % interval is well above 0."""
    report = trained[0].report
    assert report.prompts["test"] == 2505
    assert report.edge.value > 0.015
    assert report.edge.low > 0.008


def test_as_good_as_the_baselines(trained: tuple[Trained, float]) -> None:
    """It is not worse than prompt length or the intent's mean gain, which need no text model."""
    report = trained[0].report
    assert len(report.baselines) == 2
    for edge in report.baselines.values():
        assert report.edge.value > edge.value - 0.002


def test_names_the_subject(trained: tuple[Trained, float]) -> None:
    """Three of four subjects are named right, of 14."""
    assert trained[0].report.intent_accuracy > 0.75


def test_scores_are_usable(trained: tuple[Trained, float]) -> None:
    """Scores spread, hardly tie, are calibrated, and the threshold gives about the wanted share."""
    report = trained[0].report
    low, *_, high = report.score_quantiles[0]
    assert high - low > 0.08
    assert report.tie_share[0] < 0.01
    assert report.calibration_error[0] < min(0.05, report.calibration_error_before[0])
    assert report.shares[1] == pytest.approx(0.5, abs=0.06)


def test_saves_half_the_money(trained: tuple[Trained, float]) -> None:
    """It keeps nearly all of the strong model's accuracy at little more than half of its cost."""
    report = trained[0].report
    assert report.router_cost_per_1000 < 0.6 * report.cost_per_1000[1]
    assert report.router_accuracy > report.accuracy[1] - 0.015


def test_fits_a_configmap_and_a_coffee_break(trained: tuple[Trained, float]) -> None:
    """The bundle fits a ConfigMap, and training takes seconds."""
    result, seconds = trained
    assert len(result.data) <= bundles.MAX_CONFIGMAP_BYTES
    assert seconds < 20
