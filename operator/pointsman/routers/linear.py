"""Fits the linear classifier: which prompts the strong tier gains on, and what they are about.

The target is the *gain* (what the last tier gets right minus what this one does), not whether the cheap
answer is wrong: prompts that nobody can answer are no reason to pay more. Most of what can be known of it
lies in the subject, so the subject's probabilities (from folds that the intent head has not seen) are
features of the gain heads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge

from pointsman import __version__
from pointsman.routers.dataset import DatasetError, Problem
from pointsman.routers.metrics import auroc
from pointsman.triton.backend.linear import DENSE, LinearClassifier, Vocabulary, dense, tokens
from pointsman.triton.backend.request import MAX_CHARACTERS, bound
from pointsman.triton.bundle import API_VERSION, Bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Progress = Callable[[str], None]
"""Told what happens next, in a few words."""


class CollapseError(ValueError):
    """What was learned gives every prompt the same score: it cannot route."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. The defaults were chosen by cross-validation within the train folds of MMLU-Pro."""

    max_words: int = 8192
    min_documents: int = 3
    max_word_length: int = 40
    intent_alpha: float = 1.0
    gain_alpha: float = 50.0
    intent_scale: float = 2.0
    """Weight of the intent's probabilities beside the text (length 1): higher is less shrinkage."""
    dense_scale: float = 0.3
    """Weight of the character features, in standard deviations."""
    calibration_bins: int = 20


@dataclass(frozen=True, slots=True)
class _Heads:
    """Weights of the intent head: logits = x·weights + bias, already times the temperature."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, words: Any) -> NDArray[np.float64]:
        logits = words @ self.weights.astype(np.float64) + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _quiet(_: str) -> None:
    """Tell nobody."""


def fit(problem: Problem, settings: Settings | None = None, progress: Progress = _quiet) -> Bundle:
    """Fit on the train folds, calibrate on the calibration fold; the test folds are not touched.

    Raises `DatasetError` (a split is empty) or `CollapseError`.
    """
    how = settings or Settings()
    train, calibration, _ = problem.split()
    if len(np.unique(train.folds)) < 2:  # noqa: PLR2004 - out-of-fold needs another fold
        raise DatasetError("the train folds hold one fold only; at least two are needed")
    progress(f"counting words of {len(train)} prompts")
    known = _vocabulary(train.texts, how)
    vocabulary = Vocabulary(known)
    idf, x = _matrix(train.texts, vocabulary)
    intents = tuple(sorted(set(train.intents)))
    progress(f"fitting the intent head: {len(intents)} intents, {vocabulary.size} words")
    heads, out_of_fold = _intents(x, train, intents, how.intent_alpha)
    progress(f"fitting the gain of {problem.tiers[-1]} on {vocabulary.size} words")
    arrays: dict[str, NDArray[Any]] = {
        "idf": idf,
        "intent": heads.weights.astype(np.float16),
        "intent_bias": heads.bias,
        **_gains(x, train, out_of_fold, how),
    }
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "linear",
        "tiers": list(problem.tiers),
        "intents": list(intents),
        "features": {
            "words": vocabulary.size,
            "dense": list(DENSE),
            "maxCharacters": MAX_CHARACTERS,
        },
        "calibration": {"curves": [{"gains": [0.0], "scores": [0.5]}] * (len(problem.tiers) - 1)},
        "dataset": problem.dataset,
        "dataSha256": data_sha256(problem),
        "createdBy": f"pointsman {__version__}",
    }
    progress(f"calibrating on {len(calibration)} prompts")
    draft = Bundle(manifest, tuple(known), arrays)
    return replace(draft, manifest={**manifest, "calibration": {"curves": _curves(draft, calibration, how)}})


def data_sha256(problem: Problem) -> str:
    """Return a digest of everything that was learned from, in row order."""
    content = hashlib.sha256()
    for row in zip(
        problem.prompt_ids, problem.texts, problem.intents, problem.folds, problem.correct, strict=True
    ):
        prompt_id, text, intent, fold, correct = row
        content.update(
            repr((prompt_id, text, intent, int(fold), [float(value) for value in correct])).encode()
        )
    return content.hexdigest()


def scores(classifier: LinearClassifier, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[str]]:
    """Return the scores [n, T] and the intents of texts, by the code that serves."""
    scored = [classifier.score(bound(text)) for text in texts]
    return np.array([one.scores for one in scored]), [one.intent for one in scored]


def gains(classifier: LinearClassifier, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the uncalibrated gains [n, T-1] of texts."""
    return np.array([classifier.score(bound(text)).gains for text in texts])


def _vocabulary(texts: Sequence[str], how: Settings) -> list[str]:
    """Return the words that most texts hold, the most frequent first; of equals, the alphabetically first."""
    documents = Counter(
        word
        for text in texts
        for word in set(tokens(bound(text)))
        if len(word.decode()) <= how.max_word_length
    )
    kept = [word for word, n in documents.items() if n >= how.min_documents]
    if not kept:
        raise CollapseError(f"no word occurs in {how.min_documents} prompts: there is nothing to learn from")
    kept.sort(key=lambda word: (-documents[word], word))
    return [word.decode() for word in kept[: how.max_words]]


def _matrix(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[NDArray[np.float16], Any]:
    """Return the inverse document frequencies (as they are served) and the features of the texts [n, F]."""
    found = [np.sort(vocabulary.find(bound(text))) for text in texts]
    columns = np.concatenate(found)
    documents = np.bincount(columns, minlength=vocabulary.size)
    idf = (np.log((1 + len(texts)) / (1 + documents)) + 1).astype(np.float16)
    values = [idf[numbers].astype(np.float64) for numbers in found]
    unit = np.concatenate([row / (np.linalg.norm(row) or 1.0) for row in values])
    starts = np.cumsum([0, *map(len, found)])
    return idf, sp.csr_matrix((unit, columns, starts), shape=(len(texts), vocabulary.size))


def _intents(
    words: Any, train: Problem, intents: Sequence[str], alpha: float
) -> tuple[_Heads, NDArray[np.float64]]:
    """Return the intent head (one-vs-rest ridge, softmax), and its probabilities on folds it has not seen."""
    target = np.array([[1.0 if intent == name else -1.0 for name in intents] for intent in train.intents])
    logits = np.zeros(target.shape)
    for fold in np.unique(train.folds):
        out = train.folds == fold
        weights, bias = _ridge(words[~out], target[~out], alpha)
        logits[out] = words[out] @ weights + bias
    truth = target.argmax(axis=1)
    temperature = min((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0), key=lambda by: _loss(logits * by, truth))
    weights, bias = _ridge(words, target, alpha)
    heads = _Heads((weights * temperature).astype(np.float32), (bias * temperature).astype(np.float32))
    odds = np.exp(temperature * (logits - logits.max(axis=1, keepdims=True)))
    return heads, odds / odds.sum(axis=1, keepdims=True)


def _loss(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood of the true classes."""
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((total - logits[np.arange(len(truth)), truth]).mean())


def _ridge(x: Any, y: NDArray[np.float64], alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights [F, K] and bias [K] of a ridge regression with an unpunished intercept."""
    model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-4).fit(x, y)
    return np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)


def _gains(
    x: Any, train: Problem, probabilities: NDArray[np.float64], how: Settings
) -> dict[str, NDArray[Any]]:
    """Return the weights of the gain heads, in the units of the served features."""
    raw = np.array([dense(bound(text)) for text in train.texts])
    low, high = np.quantile(raw, [0.01, 0.99], axis=0).astype(np.float32)
    characters = np.clip(raw, low, high).astype(np.float64)
    centre, spread = characters.mean(axis=0), characters.std(axis=0)
    per_unit = how.dense_scale / np.where(spread > 0, spread, np.inf)
    together = sp.hstack(
        [sp.csr_matrix(probabilities * how.intent_scale), sp.csr_matrix((characters - centre) * per_unit), x]
    ).tocsr()
    target = train.correct[:, -1:] - train.correct[:, :-1]
    weights, bias = _ridge(together, target, how.gain_alpha)
    labels = probabilities.shape[1]
    by_intent = weights[:labels] * how.intent_scale
    by_dense = weights[labels : labels + len(DENSE)] * per_unit[:, None]
    return {
        "gain": weights[labels + len(DENSE) :].astype(np.float16),
        "gain_dense": by_dense.astype(np.float32),
        "dense_low": low,
        "dense_high": high,
        "gain_intent": by_intent.astype(np.float32),
        "gain_bias": (bias - centre @ by_dense).astype(np.float32),
    }


def _curves(draft: Bundle, calibration: Problem, how: Settings) -> list[dict[str, list[float]]]:
    """Return for each tier but the last the curve from gain to P(no worse than the last tier)."""
    predicted = gains(LinearClassifier(draft), calibration.texts).astype(np.float64)
    no_worse = calibration.correct[:, :-1] >= calibration.correct[:, -1:]
    curves = []
    for head, tier in enumerate(calibration.tiers[:-1]):
        if np.ptp(predicted[:, head]) < 1e-6:  # noqa: PLR2004 - below what float32 tells apart
            raise CollapseError(
                f"{tier}: every prompt has the same predicted gain; there is nothing to route by"
            )
        curve = isotonic_curve(predicted[:, head], no_worse[:, head], bins=how.calibration_bins)
        if curve is None or not auroc(-predicted[:, head], no_worse[:, head]) > 0.5:  # noqa: PLR2004 - a coin
            raise CollapseError(
                f"{tier}: on the calibration fold the predicted gain does not tell where this tier suffices; "
                "more data, other features or another pair of models are needed"
            )
        curves.append(curve)
    return curves


_MARGIN = 0.005


def isotonic_curve(
    predicted: NDArray[np.float64], outcome: NDArray[Any], bins: int = 20
) -> dict[str, list[float]] | None:
    """Return a falling curve through the pooled means of bins of equal counts, or None if it would be flat.

    Bins keep a few lucky prompts at the ends from claiming certainty. Between the pooled bins' centres the
    curve is a line, and beyond the outer ones it goes on by half a point to the outermost prompt, so that
    the order of prompts survives: a step would tie them, and a threshold could not divide them.
    """
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // 10)))
    at = np.array([predicted[part].mean() for part in parts])
    rate = np.array([outcome[part].mean() for part in parts])
    size = np.array([len(part) for part in parts], dtype=np.float64)
    pooled = IsotonicRegression(increasing=False).fit(at, rate, sample_weight=size).predict(at)
    levels = sorted(set(pooled.tolist()), reverse=True)
    if len(levels) < 2:  # noqa: PLR2004 - one level is a constant
        return None
    centres = [float(np.average(at[pooled == level], weights=size[pooled == level])) for level in levels]
    values = [min(max(level, _MARGIN), 1 - _MARGIN) for level in levels]
    knots = [
        (float(predicted.min()), values[0] + _MARGIN),
        *zip(centres, values, strict=True),
        (float(predicted.max()), values[-1] - _MARGIN),
    ]
    knots = [(round(gain, 7), round(score, 5)) for gain, score in knots]
    rising = [knots[0]] + [b for a, b in pairwise(knots) if b[0] > a[0]]
    return {"gains": [gain for gain, _ in rising], "scores": [score for _, score in rising]}
