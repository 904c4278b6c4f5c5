"""The linear classifier: text to scores and an intent, the same code at training, in the CLI and in Triton.

A text's features are x, which of the known words it holds (each weighed by its inverse document frequency,
the whole scaled to length 1), and d, a few counts of characters. The intent head gives probabilities
p = softmax(x·V + v). Each tier but the last has a predicted gain, what the last tier is better by:
g = x·G + d·D + p·P + b. A monotone curve turns g into the probability that the tier's answer is no worse
than the last tier's, which is the score; the last tier's score is 1.

How often a word occurs and which stand side by side was tried: it costs as much again and tells no more.

Between two requests the processor's caches go to others, so a score is as dear as the memory it touches:
a row of one table for each word, one pass of numpy over those rows, and plain Python for the few numbers
that come out.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import repeat
from operator import mul
from typing import TYPE_CHECKING

import numpy as np

from .bundle_reader import Bundle, BundleError, array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASSES = ("lower", "upper", "digit", "space", "newline", "operator", "other", "beyond_ascii")
DENSE = ("log_bytes", *(f"share_{name}" for name in CLASSES))
"""Names of the character features: ln(1 + bytes), then the share of each class of bytes."""


def _classes() -> bytes:
    """Return the number of the class that each byte value belongs to."""
    of_byte = bytearray([CLASSES.index("other")]) * 256
    for name, members in (
        ("lower", b"abcdefghijklmnopqrstuvwxyz"),
        ("upper", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("digit", b"0123456789"),
        ("space", b" \t"),
        ("newline", b"\n\r"),
        ("operator", b"+-*/=<>^_\\${}()[]|%"),
        ("beyond_ascii", bytes(range(128, 256))),
    ):
        for member in members:
            of_byte[member] = CLASSES.index(name)
    return bytes(of_byte)


_CLASS_OF_BYTE = _classes()
_BLANK = re.compile(rb"\xc2[\x80-\xbf]|\xe2[\x80-\x8f][\x80-\xbf]|\xe3\x80[\x80-\xbf]")
"""Punctuation and symbols beyond ASCII, in UTF-8: U+0080-00BF, U+2000-23FF, U+3000-303F."""
_WORD = bytes(
    byte if byte in range(0x80, 0x100) or re.match(rb"\w", bytes([byte])) else 32 for byte in range(256)
)
"""Blanks for what parts words: splitting bytes takes a fifth of the time of a search by `re`."""


def tokens(text: str) -> list[bytes]:
    """Return the words of a text in lower case, as UTF-8; what is not ASCII counts as letters."""
    raw = text.lower().encode("utf-8", "replace")
    if not text.isascii():
        raw = _BLANK.sub(b" ", raw)
    return raw.translate(_WORD).split()


def dense(text: str) -> list[float]:
    """Return the character features of a text, in the order of `DENSE`."""
    raw = text.encode("utf-8", "replace")
    classes, size = raw.translate(_CLASS_OF_BYTE), len(raw) or 1
    return [math.log1p(len(raw)), *(classes.count(at) / size for at in range(len(CLASSES)))]


class Vocabulary:
    """The known words, numbered by their places in the list."""

    def __init__(self, words: Sequence[str]) -> None:
        """Take the words, the most frequent first: neighbours here are neighbours in memory."""
        self.size = len(words)
        self._number = {word.encode(): number for number, word in enumerate(words)}
        if len(self._number) != self.size:
            raise BundleError("vocabulary.txt holds a word twice")

    def find(self, text: str) -> NDArray[np.intp]:
        """Return the number of each word that occurs in a text, once, in no order."""
        found = set(map(self._number.get, tokens(text), repeat(-1)))
        found.discard(-1)
        return np.fromiter(found, dtype=np.intp, count=len(found))


@dataclass(frozen=True)
class Scored:
    """What the classifier says of one text."""

    scores: list[float]
    """[T]: per tier, the probability that its answer is no worse than the last tier's."""
    intent: str
    gains: list[float]
    """[T-1]: predicted gain of the last tier over each other one, uncalibrated."""


class LinearClassifier:
    """Scores texts with the weights of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        """Take the weights; raise `BundleError` where a shape is not what the manifest promises."""
        if bundle.kind != "linear":
            raise BundleError(f"bundle.json: kind is {bundle.kind!r}, not 'linear'")
        if bundle.manifest.get("features", {}).get("dense") != list(DENSE):
            raise BundleError(f"bundle.json: features.dense must be {list(DENSE)}")
        self.tiers, self.intents = bundle.tiers, bundle.intents
        heads, labels = len(self.tiers) - 1, len(self.intents)
        self.vocabulary = Vocabulary(bundle.vocabulary)

        def weights(name: str, *shape: int) -> NDArray[np.float32]:
            return np.ascontiguousarray(array(bundle, name, shape), dtype=np.float32)

        words = self.vocabulary.size
        idf = weights("idf", words)
        # A row per word, times its idf: intents, gains, and what it adds to the square of x's length.
        rows = np.zeros((words, labels + heads + 1), dtype=np.float32)
        rows[:, :labels] = weights("intent", words, labels)
        rows[:, labels:-1] = weights("gain", words, heads)
        rows[:, -1] = idf
        self._rows = rows * idf[:, None]
        self._intent_bias: list[float] = weights("intent_bias", labels).tolist()
        # A line that was fitted between these ends says nothing beyond them (a prompt of 8,000 characters).
        self._dense_low: list[float] = weights("dense_low", len(DENSE)).tolist()
        self._dense_high: list[float] = weights("dense_high", len(DENSE)).tolist()
        self._gain_dense: list[list[float]] = weights("gain_dense", len(DENSE), heads).T.tolist()
        self._gain_intent: list[list[float]] = weights("gain_intent", labels, heads).T.tolist()
        self._gain_bias: list[float] = weights("gain_bias", heads).tolist()
        self._curves = [_curve(bundle, head) for head in range(heads)]

    def score(self, text: str) -> Scored:
        """Score one text (as `request.parse` returns it)."""
        *sums, squares = np.add.reduce(self._rows.take(self.vocabulary.find(text), axis=0)).tolist()
        length, labels = math.sqrt(squares) or 1.0, len(self.intents)
        logits = [total / length + bias for total, bias in zip(sums[:labels], self._intent_bias, strict=True)]
        top = max(logits)
        odds = [math.exp(logit - top) for logit in logits]
        all_odds = sum(odds)
        characters = list(map(min, map(max, dense(text), self._dense_low), self._dense_high))
        gains = [
            total / length
            + bias
            + sum(map(mul, characters, by_character))
            + sum(map(mul, odds, by_intent)) / all_odds
            for total, bias, by_character, by_intent in zip(
                sums[labels:], self._gain_bias, self._gain_dense, self._gain_intent, strict=True
            )
        ]
        scores = [*map(_at, self._curves, gains), 1.0]
        return Scored(scores, self.intents[logits.index(top)], gains)


Curve = tuple[list[float], list[float]]


def _at(curve: Curve, gain: float) -> float:
    """Return the score at a gain: linear between the curve's points, level beyond them."""
    gains, scores = curve
    right = bisect_right(gains, gain)
    if right in (0, len(gains)):
        return scores[0] if right == 0 else scores[-1]
    part = (gain - gains[right - 1]) / (gains[right] - gains[right - 1])
    return scores[right - 1] + part * (scores[right] - scores[right - 1])


def _curve(bundle: Bundle, head: int) -> Curve:
    """Return the calibration curve of a tier: gains, strictly ascending, and scores, not ascending."""
    curves = bundle.manifest.get("calibration", {}).get("curves")
    try:
        curve = curves[head]
        gains = np.array(curve["gains"], dtype=np.float64)
        scores = np.array(curve["scores"], dtype=np.float64)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise BundleError(
            f"bundle.json: calibration.curves[{head}] needs lists `gains` and `scores`"
        ) from error
    if gains.ndim != 1 or gains.shape != scores.shape or not gains.size:
        raise BundleError(f"bundle.json: calibration.curves[{head}]: `gains` and `scores` differ in length")
    if not ((np.diff(gains) > 0).all() and (np.diff(scores) <= 0).all()):
        raise BundleError(f"bundle.json: calibration.curves[{head}]: a higher gain must not raise the score")
    if not ((scores >= 0).all() and (scores <= 1).all()):
        raise BundleError(f"bundle.json: calibration.curves[{head}]: scores must lie within 0 and 1")
    return gains.tolist(), scores.tolist()
