"""The linear classifier: text to scores and an intent, the same code at training, in the CLI and in Triton.

A text's features are x, the TF-IDF of its words and word pairs (sublinear, length 1), and d, a few counts
of characters. The intent head gives probabilities p = softmax(x·V + v). Each tier but the last has a
predicted gain, what the last tier is better by: g = x·G + d·D + p·P + b. A monotone curve turns g into the
probability that the tier's answer is no worse than the last tier's, which is the score; the last tier's
score is 1.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from .bundle_reader import Bundle, BundleError, array
from .request import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASSES = ("lower", "upper", "digit", "space", "newline", "operator", "other", "beyond_ascii")
DENSE = ("log_bytes", *(f"share_{name}" for name in CLASSES))
"""Names of the character features: ln(1 + bytes), then the share of each class of bytes."""


def _classes() -> NDArray[np.float64]:
    """Return which class each byte value belongs to, [256, classes] of 0 and 1."""
    of_byte = np.full(256, CLASSES.index("other"))
    for name, members in (
        ("lower", b"abcdefghijklmnopqrstuvwxyz"),
        ("upper", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("digit", b"0123456789"),
        ("space", b" \t"),
        ("newline", b"\n\r"),
        ("operator", b"+-*/=<>^_\\${}()[]|%"),
        ("beyond_ascii", bytes(range(128, 256))),
    ):
        of_byte[list(members)] = CLASSES.index(name)
    return np.eye(len(CLASSES), dtype=np.float64).take(of_byte, axis=0)


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


def dense(text: str) -> NDArray[np.float32]:
    """Return the character features of a text, in the order of `DENSE`."""
    raw = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    features = np.empty(len(DENSE), dtype=np.float32)
    features[0] = math.log1p(raw.size)
    features[1:] = (np.bincount(raw, minlength=256) @ _CLASS_OF_BYTE) / max(raw.size, 1)
    return features


class Vocabulary:
    """Words and word pairs with their feature numbers: words first, pairs behind them, sorted."""

    def __init__(self, words: Sequence[str], pairs: NDArray[Any]) -> None:
        """Take the words in order, and the pairs as [m, 2] word numbers, ascending by (first, second)."""
        self.size = len(words)
        self._number = {word.encode(): number for number, word in enumerate(words)}
        keys = pairs[:, 0].astype(np.int64) * self.size + pairs[:, 1].astype(np.int64)
        self.features = self.size + len(keys)
        if len(self._number) != self.size:
            raise BundleError("vocabulary.txt holds a word twice")
        if (np.diff(keys) <= 0).any():
            raise BundleError("weights/pairs.npy is not in ascending order")
        if pairs.size and int(pairs.max()) >= self.size:
            raise BundleError("weights/pairs.npy names a word that is not in vocabulary.txt")
        # Two guards instead of masks: a key that ends every search, and a number for unknown words whose
        # pairs are below every key.
        self._keys = np.append(keys, np.iinfo(np.int64).max)
        self._unknown = -2 * self.size * self.size - 1

    def count(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the features found in a text, ascending, and how often each occurs."""
        words = np.array(list(map(self._number.get, tokens(text), repeat(self._unknown))), dtype=np.int64)
        wanted = words[:-1] * self.size + words[1:]
        wanted.sort()  # neighbours in the search are neighbours in memory
        at = self._keys.searchsorted(wanted)
        found = np.concatenate([words[words >= 0], at[self._keys[at] == wanted] + self.size])
        found.sort()
        first = np.ones(len(found) + 1, dtype=np.bool_)
        np.not_equal(found[1:], found[:-1], out=first[1:-1])
        starts = first.nonzero()[0]
        return found[starts[:-1]], starts[1:] - starts[:-1]


_SUBLINEAR = np.append(0.0, 1.0 + np.log(np.arange(1, MAX_CHARACTERS + 1))).astype(np.float32)


def tfidf(counts: NDArray[np.int64], idf: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (1 + ln count) · idf, scaled to length 1."""
    values = _SUBLINEAR.take(counts, mode="clip") * idf
    length = math.sqrt(values @ values)
    return values / np.float32(length) if length else values


@dataclass(frozen=True)
class Scored:
    """What the classifier says of one text."""

    scores: NDArray[np.float32]
    """[T]: per tier, the probability that its answer is no worse than the last tier's."""
    intent: str
    gains: NDArray[np.float32]
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
        heads, labels, words = len(self.tiers) - 1, len(self.intents), len(bundle.vocabulary)
        pairs = bundle.arrays.get("pairs", np.empty((0, 2), dtype=np.uint16))
        if pairs.dtype.kind != "u" or pairs.ndim != 2 or pairs.shape[1] != 2:  # noqa: PLR2004 - a pair
            raise BundleError("weights/pairs.npy must be unsigned [m, 2]")
        self.vocabulary = Vocabulary(bundle.vocabulary, pairs)

        def weights(name: str, *shape: int) -> NDArray[np.float32]:
            return np.ascontiguousarray(array(bundle, name, shape), dtype=np.float32)

        features = self.vocabulary.features
        self._idf = weights("idf", features)
        # One table for both heads, so that one look-up per feature does: intents first, then gains.
        self._labels = labels
        self._table = np.zeros((features, labels + heads), dtype=np.float32)
        self._table[:words, :labels] = weights("intent", words, labels)
        self._table[:, labels:] = weights("gain", features, heads)
        self._bias = np.concatenate([weights("intent_bias", labels), weights("gain_bias", heads)])
        self._gain_dense = weights("gain_dense", len(DENSE), heads)
        # A line that was fitted between these ends says nothing beyond them (a prompt of 8,000 characters).
        self._dense_low = weights("dense_low", len(DENSE))
        self._dense_high = weights("dense_high", len(DENSE))
        self._gain_intent = weights("gain_intent", labels, heads)
        self._curves = [_curve(bundle, head) for head in range(heads)]

    def score(self, text: str) -> Scored:
        """Score one text (as `request.parse` returns it)."""
        numbers, counts = self.vocabulary.count(text)
        both = tfidf(counts, self._idf[numbers]) @ self._table[numbers] + self._bias
        logits = both[: self._labels]
        top = int(logits.argmax())
        odds = np.exp(logits - logits[top])
        by_intent = (odds @ self._gain_intent) / np.add.reduce(odds)
        characters = np.minimum(np.maximum(dense(text), self._dense_low), self._dense_high)
        gains = both[self._labels :] + characters @ self._gain_dense + by_intent
        scores = [*(_at(curve, gain) for curve, gain in zip(self._curves, gains.tolist(), strict=True)), 1.0]
        return Scored(np.array(scores, dtype=np.float32), self.intents[top], gains)


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
