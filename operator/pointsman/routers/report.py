"""What a bundle is worth on prompts that nothing of it has seen: the test folds, at one threshold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.routers import metrics
from pointsman.routers.metrics import Edge
from pointsman.triton.backend.request import bound
from pointsman.triton.bundle import Bundle, LinearClassifier, classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pointsman.routers.dataset import Problem


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of the test folds. Shares and accuracies are 0..1, money is US dollars."""

    dataset: str
    tiers: tuple[str, ...]
    prompts: dict[str, int]
    """Per split."""
    threshold_permille: int
    """Chosen on the calibration fold for `wanted_strong_share`."""
    wanted_strong_share: float
    shares: tuple[float, ...]
    """Of the router's choices, per tier."""
    accuracy: tuple[float, ...]
    """Of each tier alone."""
    router_accuracy: float
    random_accuracy: float
    """To expect when the same shares are dealt out at random."""
    oracle_accuracy: float
    edge: Edge
    """router_accuracy − random_accuracy."""
    baselines: dict[str, Edge]
    """Edges of simpler routers at the same strong share (two tiers only)."""
    cost_per_1000: tuple[float, ...]
    """Of each tier alone; nan where no price is known."""
    router_cost_per_1000: float
    intent_accuracy: float
    auroc: tuple[float, ...]
    """Per tier but the last: does the score tell what only it gets right from what only the last does?"""
    calibration_error: tuple[float, ...]
    calibration_error_before: tuple[float, ...]
    """With 1 − predicted gain as the probability."""
    score_quantiles: tuple[tuple[float, ...], ...]
    """Per tier but the last, at 5, 25, 50, 75 and 95 %."""
    tie_share: tuple[float, ...]
    """Per tier but the last: prompts that carry the most frequent score."""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, numbers cut to 6 digits, nan as null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def evaluate(bundle: Bundle, problem: Problem, strong_share: float) -> Report:
    """Choose the threshold on the calibration fold and report on the test folds. Raises `DatasetError`."""
    train, calibration, test = problem.split()
    scorer = classifier(bundle)
    held_out, _, _ = _score(scorer, calibration.texts)
    threshold = metrics.threshold_for_share(held_out, strong_share)
    scores, gains, intents = _score(scorer, test.texts)
    thresholds = [threshold] * (len(problem.tiers) - 1)
    choice = metrics.choose(scores, thresholds)
    last, others = test.correct[:, -1:], test.correct[:, :-1]
    heads = range(others.shape[1])
    router_cost = float(np.take_along_axis(test.cost_usd, choice[:, None], axis=1).mean())
    return Report(
        dataset=problem.dataset,
        tiers=problem.tiers,
        prompts={"train": len(train), "calibration": len(calibration), "test": len(test)},
        threshold_permille=threshold,
        wanted_strong_share=strong_share,
        shares=tuple((np.bincount(choice, minlength=len(problem.tiers)) / len(test)).tolist()),
        accuracy=tuple(test.correct.mean(axis=0).tolist()),
        router_accuracy=metrics.accuracy(test.correct, choice),
        random_accuracy=metrics.at_random(test.correct, choice),
        oracle_accuracy=float(test.correct.max(axis=1).mean()),
        edge=metrics.edge(test.correct, choice, test.group_ids),
        baselines=_baselines(train, test, intents, choice),
        cost_per_1000=tuple((test.cost_usd.mean(axis=0) * 1000).tolist()),
        router_cost_per_1000=router_cost * 1000,
        intent_accuracy=float(np.mean(np.array(intents) == np.array(test.intents))),
        auroc=tuple(_auroc(scores[:, t], others[:, t], last[:, 0]) for t in heads),
        calibration_error=tuple(
            metrics.calibration_error(scores[:, t], others[:, t] >= last[:, 0]) for t in heads
        ),
        calibration_error_before=tuple(
            metrics.calibration_error(np.clip(1 - gains[:, t], 0, 1), others[:, t] >= last[:, 0])
            for t in heads
        ),
        score_quantiles=tuple(
            tuple(np.quantile(scores[:, t], [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()) for t in heads
        ),
        tie_share=tuple(metrics.tie_share(scores[:, t]) for t in heads),
    )


def _score(
    scorer: LinearClassifier, texts: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]]:
    """Return scores [n, T], gains [n, T-1] and intents, by the code that serves."""
    scored = [scorer.score(bound(text)) for text in texts]
    return (
        np.array([one.scores for one in scored]),
        np.array([one.gains for one in scored]),
        [one.intent for one in scored],
    )


def _auroc(scores: NDArray[Any], this: NDArray[Any], last: NDArray[Any]) -> float:
    """Return how well the score orders the prompts on which the two tiers differ."""
    decisive = this != last
    return metrics.auroc(scores[decisive], this[decisive] > last[decisive])


def _baselines(
    train: Problem, test: Problem, intents: Sequence[str], choice: NDArray[np.int64]
) -> dict[str, Edge]:
    """Return the edges of two routers that need no learning to speak of, at the same strong share."""
    if len(test.tiers) > 2:  # noqa: PLR2004 - with more tiers there is no one order of prompts
        return {}
    gain = train.correct[:, 1] - train.correct[:, 0]
    of_train = np.array(train.intents)
    mean = {intent: float(gain[of_train == intent].mean()) for intent in sorted(set(train.intents))}
    strong = int((choice == 1).sum())
    jitter = np.random.default_rng(0).random(len(test))  # equal values in random order
    found = {}
    for name, value in (
        ("longest prompts to strong", np.array([float(len(text)) for text in test.texts])),
        ("mean gain of the named intent", np.array([mean[intent] for intent in intents])),
    ):
        picked = np.zeros(len(test), dtype=np.int64)
        picked[np.lexsort((jitter, -value))[:strong]] = 1
        found[name] = metrics.edge(test.correct, picked, test.group_ids)
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
