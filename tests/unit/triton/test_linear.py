"""The scorer: what it counts, and that what it says does not depend on how it is asked."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundles as small
from pointsman.triton.backend.linear import DENSE, LinearClassifier, Vocabulary, dense, tokens


@pytest.fixture(scope="module")
def classifier() -> LinearClassifier:
    """Return a classifier for two tiers: sums are easy, prose is not."""
    return LinearClassifier(small.fitted())


def test_tells_easy_from_hard(classifier: LinearClassifier) -> None:
    """The cheap tier scores high where it is as good; the intent is named; the last tier scores 1."""
    easy = classifier.score("Question 7: multiply number ratio divide total add root percent?")
    hard = classifier.score("Question 8: metaphor tone stanza poem chorus irony verse novel?")
    assert (easy.intent, hard.intent) == ("sums", "prose")
    assert easy.scores[0] > 0.6
    assert hard.scores[0] < 0.5
    assert easy.scores[1] == hard.scores[1] == 1


@pytest.mark.parametrize("tiers", [2, 3, 4])
def test_one_score_per_tier(tiers: int) -> None:
    """There are as many scores as tiers, and a gain for each but the last."""
    scored = LinearClassifier(small.fitted(tiers)).score("a poem")
    assert (len(scored.scores), len(scored.gains)) == (tiers, tiers - 1)


@given(st.text(max_size=200))
def test_any_text_has_a_score(classifier_text: str) -> None:
    """Whatever the text, the scores are probabilities and the intent is one of the bundle's."""
    scored = LinearClassifier(small.fitted()).score(classifier_text)
    assert all(0 <= score <= 1 for score in scored.scores)
    assert scored.intent in ("sums", "prose")


def test_calibration_is_monotone(classifier: LinearClassifier) -> None:
    """A higher predicted gain of the last tier never gives the cheap tier a higher score."""
    scored = [classifier.score(text) for text in small.problem(seed=3).texts]
    order = np.argsort([one.gains[0] for one in scored])
    assert (np.diff(np.array([one.scores[0] for one in scored])[order]) <= 0).all()


@given(st.text(st.characters(max_codepoint=127), max_size=100))
def test_tokens_of_ascii_are_words(text: str) -> None:
    """For ASCII, the fast splitting finds exactly the words that the regular expression finds."""
    assert tokens(text) == [word.encode() for word in re.findall(r"\w+", text.lower())]


def test_tokens_beyond_ascii() -> None:
    """Letters of any script belong to words; typographic punctuation parts them."""
    found = [word.decode() for word in tokens("“Ärger” — naïve café… x×y 你好。世界")]
    assert found == ["ärger", "naïve", "café", "x×y", "你好", "世界"]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), ("x", []), ("?!", []), ("a", [0]), ("A b a x, b", [0, 1]), ("c-b", [1, 2])],
)
def test_finds_the_known_words(text: str, numbers: list[int]) -> None:
    """Each known word is found once, however often it occurs; others are not."""
    assert sorted(Vocabulary(["a", "b", "c"]).find(text).tolist()) == numbers


def test_score_by_hand() -> None:
    """The score is what the formula of the module's docstring gives, step by step."""
    bundle = small.fitted()
    weights = {name: value.astype(np.float64) for name, value in bundle.arrays.items()}
    text = "Question 7: a poem, a total and a poem"
    found = [
        bundle.vocabulary.index(word)
        for word in ("question", "7", "poem", "total")
        if word in bundle.vocabulary
    ]
    x = np.zeros(len(bundle.vocabulary))
    x[found] = weights["idf"][found]
    x /= np.linalg.norm(x)
    odds = np.exp(x @ weights["intent"] + weights["intent_bias"])
    d = np.clip(dense(text), weights["dense_low"], weights["dense_high"])
    gain = x @ weights["gain"] + d @ weights["gain_dense"] + weights["gain_bias"]
    gain += odds / odds.sum() @ weights["gain_intent"]
    curve = bundle.manifest["calibration"]["curves"][0]
    scored = LinearClassifier(bundle).score(text)
    assert scored.gains == pytest.approx(gain, abs=1e-6)
    assert scored.scores == pytest.approx([np.interp(gain[0], curve["gains"], curve["scores"]), 1], abs=1e-6)
    assert scored.intent == bundle.intents[odds.argmax()]


def test_character_features() -> None:
    """The shares of the classes of bytes, and the length."""
    found = dict(zip(DENSE, dense("Ab 1\n+é"), strict=True))
    assert found["log_bytes"] == pytest.approx(math.log1p(8))
    expected = {
        "lower": 1,
        "upper": 1,
        "digit": 1,
        "space": 1,
        "newline": 1,
        "operator": 1,
        "beyond_ascii": 2,
    }
    for name, count in expected.items():
        assert found[f"share_{name}"] == pytest.approx(count / 8)


def test_fast_enough_for_the_request_path(classifier: LinearClassifier) -> None:
    """A prompt of 1.5 kB takes well under a millisecond (the best of many: other things run here)."""
    text = " ".join(small.SUMS * 15)[:1500]
    best = math.inf
    for _ in range(200):
        start = time.perf_counter()
        classifier.score(text)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3
