"""The shipped data, and how the reader treats folders that lack something."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from pointsman.routers import dataset
from pointsman.routers.dataset import DatasetError, Problem

DATA = Path(__file__).parents[3] / "data" / "mmlu-pro"
CHEAP, STRONG = "gemini-1.5-flash-002", "gemini-1.5-pro-002"


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Read the pair that the examples use."""
    return dataset.load(DATA, [CHEAP, STRONG])


def test_figures_of_the_datasheet(problem: Problem) -> None:
    """The pair's counts and accuracies are those that the README states."""
    only_strong = (problem.correct[:, 1] > problem.correct[:, 0]).mean()
    only_cheap = (problem.correct[:, 1] < problem.correct[:, 0]).mean()
    assert len(problem) == 8337
    assert problem.correct.mean(axis=0) == pytest.approx([0.645, 0.705], abs=5e-4)
    assert (only_strong, only_cheap) == pytest.approx((0.141, 0.080), abs=5e-4)
    assert problem.correct.max(axis=1).mean() == pytest.approx(0.786, abs=5e-4)
    assert len(set(problem.intents)) == 14


def test_groups_stay_on_one_side(problem: Problem) -> None:
    """Questions that are alike have one fold, so no test question was trained on in another guise."""
    folds = defaultdict(set)
    for group, fold in zip(problem.group_ids, problem.folds, strict=True):
        folds[group].add(int(fold))
    assert {len(found) for found in folds.values()} == {1}


def test_split_is_whole_and_disjoint(problem: Problem) -> None:
    """Train, calibration and test share no prompt and no group, and together are everything."""
    parts = problem.split()
    ids = [set(part.prompt_ids) for part in parts]
    groups = [set(part.group_ids) for part in parts]
    assert [len(part) for part in parts] == [5045, 787, 2505]
    assert sum(len(found) for found in ids) == len(set.union(*ids)) == len(problem)
    assert sum(len(found) for found in groups) == len(set.union(*groups))


def test_costs_follow_from_tokens_and_prices(problem: Problem) -> None:
    """A call's cost is its tokens at the prices of models.csv."""
    with (DATA / "models.csv").open() as file:
        prices = {row["model"]: row for row in csv.DictReader(file)}
    answers = dataset.answers(DATA, STRONG)
    for row in range(0, len(problem), 500):
        answer = answers[problem.texts[row]]
        cost = (
            answer.prompt_tokens * float(prices[STRONG]["input_usd_per_mtok"])
            + answer.output_tokens * float(prices[STRONG]["output_usd_per_mtok"])
        ) / 1e6
        assert problem.cost_usd[row, 1] == pytest.approx(cost, rel=1e-6)


def test_answers_by_prompt(problem: Problem) -> None:
    """Every prompt of the pair finds its answer; verdicts differ only where a prompt is repeated."""
    answers = dataset.answers(DATA, CHEAP)
    found = [answers[text] for text in problem.texts]
    same = np.array([float(answer.correct) for answer in found]) == problem.correct[:, 0]
    assert all(answer.text and answer.output_tokens > 0 for answer in found)
    assert same.mean() > 0.99


def test_six_models_have_answers() -> None:
    """The models of models.csv are those with answers."""
    with (DATA / "models.csv").open() as file:
        assert sorted(row["model"] for row in csv.DictReader(file)) == dataset.models(DATA)


def test_unknown_model_names_the_known() -> None:
    """A model that is not there is refused with those that are."""
    with pytest.raises(DatasetError, match=rf"no outcomes of gpt-9; models here: .*{CHEAP}"):
        dataset.load(DATA, ["gpt-9", STRONG])
    with pytest.raises(DatasetError, match=rf"no answers of gpt-9; models with answers: .*{CHEAP}"):
        dataset.answers(DATA, "gpt-9")


def test_one_model_is_no_choice() -> None:
    """A problem needs two different models."""
    with pytest.raises(DatasetError, match="at least two different models"):
        dataset.load(DATA, [CHEAP, CHEAP])


def test_unknown_dataset() -> None:
    """A dataset that these models have no outcomes in is refused."""
    with pytest.raises(DatasetError, match="no dataset has outcomes of all of"):
        dataset.load(DATA, [CHEAP, STRONG], "gsm8k")


def test_missing_file(tmp_path: Path) -> None:
    """A folder without outcomes is refused, naming the file."""
    shutil.copy(DATA / "prompts.parquet", tmp_path)
    with pytest.raises(DatasetError, match=r"outcomes.parquet: no such file"):
        dataset.load(tmp_path, [CHEAP, STRONG])
    with pytest.raises(DatasetError, match=r"no answers_\*.parquet here"):
        dataset.answers(tmp_path, CHEAP)


def test_nothing_heavy_is_shipped() -> None:
    """The folder stays small enough to clone."""
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 15_000_000
