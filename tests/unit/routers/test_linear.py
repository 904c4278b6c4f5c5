"""Fitting: it finds what there is, says when there is nothing, and gives the same bytes again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundles as small
from pointsman.routers import linear
from pointsman.routers.dataset import DatasetError
from pointsman.routers.linear import CollapseError, Settings, isotonic_curve
from pointsman.routers.report import evaluate
from pointsman.routers.train import train
from pointsman.triton import bundle as bundles


def test_finds_the_gain() -> None:
    """Where prose needs the last tier and sums do not, the router beats the random split by far."""
    report = evaluate(small.fitted(), small.problem(), 0.5)
    assert report.edge.low > 0.08
    assert report.intent_accuracy > 0.95
    assert report.auroc[0] > 0.7
    assert report.tie_share[0] < 0.1


@pytest.mark.parametrize("tiers", [3, 4])
def test_more_tiers(tiers: int) -> None:
    """With more tiers each but the last has a gain head of its own, and routing still pays."""
    report = evaluate(small.fitted(tiers), small.problem(tiers), 0.5)
    assert len(report.auroc) == len(report.calibration_error) == tiers - 1
    assert report.edge.low > 0
    assert sum(report.shares) == pytest.approx(1)


def test_same_problem_same_bytes() -> None:
    """Training twice gives the same file, so its digest names what was learned."""
    assert train(small.problem()).data == train(small.problem()).data


def test_other_data_other_digest() -> None:
    """One verdict more or less is other data."""
    problem = small.problem()
    correct = problem.correct.copy()
    correct[0, 0] = 1 - correct[0, 0]
    assert linear.data_sha256(problem) != linear.data_sha256(replace(problem, correct=correct))


def test_test_folds_are_not_touched() -> None:
    """What is in the test folds changes nothing of the weights and the calibration."""
    problem = small.problem()
    test = problem.folds >= 7
    correct = np.where(test[:, None], 1 - problem.correct, problem.correct)
    texts = tuple("poem" if held else text for text, held in zip(problem.texts, test, strict=True))
    fitted, other = small.fitted(), linear.fit(replace(problem, correct=correct, texts=texts))
    assert other.vocabulary == fitted.vocabulary
    assert other.manifest["calibration"] == fitted.manifest["calibration"]
    np.testing.assert_array_equal(other.arrays["gain"], fitted.arrays["gain"])


def test_bundle_carries_its_report() -> None:
    """The figures in the manifest are those of the file's own weights."""
    trained = train(small.problem(), strong_share=0.3)
    metrics = bundles.read(trained.data).manifest["metrics"]
    assert metrics == trained.report.as_json()
    assert evaluate(bundles.read(trained.data), small.problem(), 0.3).as_json() == metrics
    assert metrics["shares"][-1] == pytest.approx(0.3, abs=0.15)


def test_calibration_tells_the_truth() -> None:
    """On the test folds the score is near the rate at which the cheap tier was no worse."""
    report = evaluate(small.fitted(), small.problem(), 0.5)
    assert report.calibration_error[0] < 0.15


def test_equal_outcomes_collapse() -> None:
    """Tiers that are always equally right leave nothing to learn, and the message says so."""
    problem = small.problem()
    equal = replace(problem, correct=np.repeat(problem.correct[:, :1], 2, axis=1))
    with pytest.raises(CollapseError, match=r"tier-0: .*nothing to route by"):
        linear.fit(equal)


def test_contradiction_collapses() -> None:
    """Where the calibration fold contradicts the predicted gain, no curve is invented."""
    problem = small.problem()
    prose = np.array(problem.intents) == "prose"
    opposite = np.column_stack([prose, ~prose])
    flipped = np.where((problem.folds == 6)[:, None], opposite, problem.correct)
    with pytest.raises(CollapseError, match="calibration fold"):
        linear.fit(replace(problem, correct=flipped))


def test_no_words() -> None:
    """Prompts that share no word cannot be learned from."""
    problem = replace(small.problem(n=60), texts=tuple(f"q{at}" for at in range(60)))
    with pytest.raises(CollapseError, match="no word occurs in 3 prompts"):
        linear.fit(problem)


def test_one_intent() -> None:
    """Data without subjects still trains: there is one intent, and it is always named."""
    problem = small.problem()
    problem = replace(problem, intents=("all",) * len(problem))
    report = evaluate(linear.fit(problem), problem, 0.5)
    assert report.intent_accuracy == 1
    assert report.edge.low > 0


def test_empty_split() -> None:
    """A dataset without calibration prompts is refused, naming the folds."""
    problem = small.problem()
    with pytest.raises(DatasetError, match="calibration folds"):
        linear.fit(problem.rows([0, 1, 2, 3, 4, 5, 7]))


def test_limits_bound_the_bundle() -> None:
    """The vocabulary is cut to the most frequent words, the most frequent of them first."""
    bundle = linear.fit(small.problem(), Settings(max_words=10))
    assert len(bundle.vocabulary) == len(bundle.arrays["gain"]) == 10
    assert bundle.vocabulary[0] == "question"


@given(
    st.lists(st.tuples(st.floats(-1, 1, width=32), st.booleans()), min_size=20, max_size=200),
    st.integers(1, 30),
)
def test_curve_is_servable(points: list[tuple[float, bool]], bins: int) -> None:
    """Whatever the data, a curve has ascending gains and falling probabilities, or there is none."""
    curve = isotonic_curve(np.array([x for x, _ in points]), np.array([y for _, y in points]), bins)
    if curve is None:
        return
    gains, scores = np.array(curve["gains"]), np.array(curve["scores"])
    assert (np.diff(gains) > 0).all()
    assert (np.diff(scores) <= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1
