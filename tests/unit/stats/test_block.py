"""One window's evidence: the worked windows, and what makes a bet fair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from pointsman.stats.block import Prepared, log_evidence, prepare
from pointsman.stats.canary import FAIL_GAPS, pass_gaps
from pointsman.stats.types import Blocks

WORKED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "worked_windows.json").read_text("utf-8"))[
    "windows"
]


def window(passes_i: Any, n_i: float, passes_c: Any, n_c: float, before: float) -> Prepared:
    """Return windows of one size; passes may be arrays of the same length."""
    x_i, x_c = (
        np.atleast_1d(np.asarray(passes_i, np.float64)),
        np.atleast_1d(np.asarray(passes_c, np.float64)),
    )
    ones = np.ones(len(x_i))
    return Prepared(
        x_i, n_i - x_i, n_i * ones, x_c, n_c - x_c, n_c * ones, before * ones, np.arange(len(x_i))
    )


def worked(case: dict[str, Any]) -> Prepared:
    """Return a worked window as the evidence wants it."""
    i, c = case["incumbent"], case["candidate"]
    return window(i["passes"], i["total"], c["passes"], c["total"], case["p_before"])


@pytest.mark.parametrize("case", WORKED)
def test_worked_fail(case: dict[str, Any]) -> None:
    """The Fail bets of the worked windows come out to 1e-6."""
    gaps = np.array([int(gap) / 100 for gap in case["fail_log_e"]])
    logs = log_evidence(worked(case), case["delta0"], gaps, case["tau2"] ** 0.5)
    assert logs[:, 0] == pytest.approx(list(case["fail_log_e"].values()), abs=1e-6)


@pytest.mark.parametrize("case", WORKED)
def test_worked_pass(case: dict[str, Any]) -> None:
    """The Pass bets of the worked windows come out to 1e-6."""
    logs = log_evidence(worked(case), 0.03, pass_gaps(0.03), case["tau2"] ** 0.5)
    assert list(case["pass_log_e"]) == ["0.5", "0.85", "1.2"]
    assert logs[:, 0] == pytest.approx(list(case["pass_log_e"].values()), abs=1e-6)


@dataclass(frozen=True)
class Arms:
    """A window before it is served, and what was guessed of it."""

    n_i: int
    n_c: int
    p_i: float
    before: float


THOUSANDTHS = st.integers(0, 1000).map(lambda count: count / 1000)
ARMS = st.builds(Arms, st.integers(1, 15), st.integers(1, 15), THOUSANDTHS, THOUSANDTHS)
DROPS = st.integers(0, 300).map(lambda count: count / 1000)


def expected(arms: Arms, drop: float, delta0: float, gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact mean of e over all outcomes of a window whose true drop is `drop`, by bet."""
    x_i, x_c = (grid.ravel() for grid in np.meshgrid(np.arange(arms.n_i + 1), np.arange(arms.n_c + 1)))
    p_c = round(arms.p_i - drop, 6)
    chance: NDArray[np.float64] = binom.pmf(x_i, arms.n_i, arms.p_i) * binom.pmf(x_c, arms.n_c, p_c)
    outcomes = window(x_i, arms.n_i, x_c, arms.n_c, arms.before)
    mean: NDArray[np.float64] = np.exp(log_evidence(outcomes, delta0, gaps, 0.0)) @ chance
    return mean


@given(ARMS, DROPS, DROPS)
def test_fail_is_fair(arms: Arms, delta0: float, slack: float) -> None:
    """Whatever the level, the sizes and the guess: a drop at or under delta0 gains nothing on average."""
    assume(0 <= arms.p_i - delta0 + slack <= 1)
    assert np.all(expected(arms, delta0 - slack, delta0, FAIL_GAPS) <= 1 + 1e-9)


@given(ARMS, DROPS, DROPS)
def test_pass_is_fair(arms: Arms, margin: float, excess: float) -> None:
    """A drop at or over the margin gains nothing on average."""
    assume(margin > 0)
    assume(margin + excess <= arms.p_i)
    assert np.all(expected(arms, margin + excess, margin, pass_gaps(margin)) <= 1 + 1e-9)


@given(ARMS, st.floats(-0.9, 0.9), st.sampled_from([FAIL_GAPS, pass_gaps(0.03)]))
def test_finite(arms: Arms, delta0: float, gaps: NDArray[np.float64]) -> None:
    """No outcome of a window ruins the fortune or breaks the arithmetic."""
    n_i, n_c = arms.n_i, arms.n_c
    corners = window([0, 0, n_i, n_i], n_i, [0, n_c, 0, n_c], n_c, arms.before)
    assert np.all(np.isfinite(log_evidence(corners, delta0, gaps, 0.0)))


def test_empty_arm_says_nothing() -> None:
    """A window with one arm only is left out, and keeps the place of the others."""
    counts = Blocks(
        np.array([9.0, 8.0, 0.0]),
        np.array([10.0, 10.0, 0.0]),
        np.array([0.0, 7.0, 5.0]),
        np.array([0.0, 9.0, 5.0]),
    )
    assert prepare(counts, 1.0).index.tolist() == [1]


def test_known_before_the_window() -> None:
    """The rate that sizes a bet is of earlier windows: the window's own outcome does not move it."""
    totals = np.array([100.0, 100.0])

    def before(passes: float) -> float:
        counts = Blocks(np.array([80.0, passes]), totals, np.array([80.0, 80.0]), totals, prior=0.8)
        return float(prepare(counts, 1.0).before[1])

    assert before(0.0) == before(100.0) == pytest.approx(0.8)


def test_unmeasured_noise_bets_nothing() -> None:
    """Where the noise is unknown, a window is worth nothing."""
    logs = log_evidence(window(90, 100, 10, 100, 0.9), 0.01, FAIL_GAPS, float("inf"))
    assert not logs.any()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1.0], [1.0, 2.0], [1.0], [1.0]), "incumbent: passes and totals"),
        (([2.0], [1.0], [1.0], [1.0]), "incumbent: passes lie"),
        (([1.0], [1.0], [-1.0], [1.0]), "candidate: passes lie"),
    ],
)
def test_refuses_what_are_no_counts(arrays: tuple[list[float], ...], message: str) -> None:
    """Counts that cannot be are named, not computed with."""
    incumbent_passes, incumbent_total, candidate_passes, candidate_total = map(np.array, arrays)
    with pytest.raises(ValueError, match=message):
        Blocks(incumbent_passes, incumbent_total, candidate_passes, candidate_total)
