"""Routing data on disk: prompts, outcomes and answers of several models (layout: data/mmlu-pro/README.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN_FOLDS = (0, 1, 2, 3, 4, 5)
CALIBRATION_FOLDS = (6,)
TEST_FOLDS = (7, 8, 9)


class DatasetError(ValueError):
    """The folder lacks a file, a dataset or a model; the message names what there is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model really answered to one prompt, and whether it was right."""

    text: str
    correct: bool
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Which of T models suffices for each of n prompts. Rows are in the order of the prompts file."""

    dataset: str
    tiers: tuple[str, ...]
    """Models, cheap to strong."""
    prompt_ids: tuple[str, ...]
    texts: tuple[str, ...]
    intents: tuple[str, ...]
    references: tuple[str, ...]
    correct: NDArray[np.float64]
    """[n, T], 1 right, 0 wrong (graded outcomes lie between)."""
    cost_usd: NDArray[np.float64]
    """[n, T], nan where unknown."""
    group_ids: tuple[str, ...]
    """The same or nearly the same question: never on two sides of a split."""
    folds: NDArray[np.int64]
    """[n], constant within a group."""

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.texts)

    def rows(self, folds: Sequence[int]) -> Problem:
        """Return the prompts of these folds."""
        keep = np.flatnonzero(np.isin(self.folds, folds))
        return Problem(
            dataset=self.dataset,
            tiers=self.tiers,
            prompt_ids=tuple(self.prompt_ids[i] for i in keep),
            texts=tuple(self.texts[i] for i in keep),
            intents=tuple(self.intents[i] for i in keep),
            references=tuple(self.references[i] for i in keep),
            correct=self.correct[keep],
            cost_usd=self.cost_usd[keep],
            group_ids=tuple(self.group_ids[i] for i in keep),
            folds=self.folds[keep],
        )

    def split(self) -> tuple[Problem, Problem, Problem]:
        """Return train (folds 0-5), calibration (6) and test (7-9); raise `DatasetError` if one is empty."""
        parts = (self.rows(TRAIN_FOLDS), self.rows(CALIBRATION_FOLDS), self.rows(TEST_FOLDS))
        for name, part in zip(("train", "calibration", "test"), parts, strict=True):
            if not len(part):
                raise DatasetError(f"no prompt in the {name} folds: `fold` must run from 0 to 9")
        return parts


def load(folder: Path, tiers: Sequence[str], dataset: str | None = None) -> Problem:
    """Join prompts and outcomes to the problem of choosing among `tiers` (cheap to strong).

    Without `dataset`, the only dataset in which every one of these models has outcomes is taken.
    Prompts that lack an outcome of one of the models are left out. Raises `DatasetError`.
    """
    if len(tiers) < 2 or len(set(tiers)) != len(tiers):  # noqa: PLR2004 - a choice needs two
        raise DatasetError(f"at least two different models are needed, got: {', '.join(tiers) or 'none'}")
    outcomes = _read(
        folder / "outcomes.parquet", ["prompt_id", "dataset", "model", "correct", "score", "cost_usd"]
    )
    chosen = _dataset(outcomes, tiers, dataset)
    verdicts: dict[str, dict[str, tuple[float, float]]] = {tier: {} for tier in tiers}
    for prompt_id, where, model, correct, score, cost in zip(*outcomes.values(), strict=True):
        if where == chosen and model in verdicts:
            right = score if correct is None else float(correct)
            verdicts[model][prompt_id] = (right, np.nan if cost is None else cost)
    prompts = _read(
        folder / "prompts.parquet",
        ["prompt_id", "dataset", "prompt", "category", "reference", "group_id", "fold"],
    )
    rows = [
        row
        for row in zip(*prompts.values(), strict=True)
        if row[1] == chosen and all(row[0] in known for known in verdicts.values())
    ]
    table = np.array([[verdicts[t][row[0]] for t in tiers] for row in rows], dtype=np.float64).reshape(
        len(rows), len(tiers), 2
    )
    return Problem(
        dataset=chosen,
        tiers=tuple(tiers),
        prompt_ids=tuple(row[0] for row in rows),
        texts=tuple(row[2] for row in rows),
        intents=tuple(row[3] for row in rows),
        references=tuple(row[4] for row in rows),
        correct=table[:, :, 0],
        cost_usd=table[:, :, 1],
        group_ids=tuple(row[5] for row in rows),
        folds=np.array([row[6] for row in rows], dtype=np.int64),
    )


def answers(folder: Path, model: str, dataset: str | None = None) -> dict[str, Answer]:
    """Return a model's answers by prompt text; of equal prompts, the first one's. Raises `DatasetError`."""
    files = sorted(folder.glob("answers_*.parquet" if dataset is None else f"answers_{dataset}.parquet"))
    if not files:
        raise DatasetError(f"{folder}: no answers_*.parquet here")
    texts: dict[str, tuple[str, bool, int]] = {}
    for file in files:
        table = _read(file, ["prompt_id", "answer", "correct", "output_tokens"], model=model)
        for prompt_id, text, correct, tokens in zip(*table.values(), strict=True):
            texts[prompt_id] = (text, bool(correct), tokens or 0)
    if not texts:
        raise DatasetError(
            f"{folder}: no answers of {model}; models with answers: {', '.join(models(folder))}"
        )
    prompts = _read(folder / "prompts.parquet", ["prompt_id", "prompt", "prompt_tokens"])
    found: dict[str, Answer] = {}
    for prompt_id, prompt, tokens in zip(*prompts.values(), strict=True):
        if prompt_id in texts and prompt not in found:
            text, correct, output_tokens = texts[prompt_id]
            found[prompt] = Answer(text, correct, tokens, output_tokens)
    return found


def models(folder: Path) -> list[str]:
    """Return the models with answers in this folder, sorted."""
    found: set[str] = set()
    for file in folder.glob("answers_*.parquet"):
        found.update(_read(file, ["model"])["model"])
    return sorted(found)


def _dataset(outcomes: dict[str, list[Any]], tiers: Sequence[str], wanted: str | None) -> str:
    """Return the dataset that all models have in common."""
    where: defaultdict[str, set[str]] = defaultdict(set)
    for model, dataset in set(zip(outcomes["model"], outcomes["dataset"], strict=True)):
        where[model].add(dataset)
    for tier in tiers:
        if tier not in where:
            raise DatasetError(f"no outcomes of {tier}; models here: {', '.join(sorted(where))}")
    common = set.intersection(*(where[tier] for tier in tiers))
    if wanted is not None:
        common &= {wanted}
    if len(common) == 1:
        return common.pop()
    if not common:
        raise DatasetError(f"no dataset has outcomes of all of: {', '.join(tiers)}")
    raise DatasetError(f"several datasets have these models, name one: {', '.join(sorted(common))}")


def _read(file: Path, columns: list[str], model: str | None = None) -> dict[str, list[Any]]:
    """Read columns of a Parquet file, in the order asked for."""
    import pyarrow.parquet as pq  # the `train` extra: only those who read data need it

    if not file.is_file():
        raise DatasetError(f"{file}: no such file; the folder must hold prompts.parquet and outcomes.parquet")
    missing = set(columns) - set(pq.read_schema(file).names)
    if missing:
        raise DatasetError(f"{file}: no column {', '.join(sorted(missing))}")
    table = pq.read_table(file, columns=columns, filters=None if model is None else [("model", "=", model)])
    return {name: table.column(name).to_pylist() for name in columns}
