"""Reading the classifier's answer, and the rule that makes a tier of it."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lua_kit import functions, plain, runtime, to_lua
from pointsman.contract import Reason

LUA = runtime()
_decode, _choose, _float32 = functions("decide", "decode", "choose", "float32", lua=LUA)
TIERS = 3


def answer(
    scores: list[float],
    intent: bytes = b"chat",
    *,
    reverse: bool = False,
    sizes: dict[str, int] | None = None,
) -> tuple[int, bytes]:
    """Return Triton's binary answer and the size of its JSON header."""
    raw = {
        "score": np.array(scores, dtype="<f4").tobytes(),
        "intent": struct.pack("<I", len(intent)) + intent,
    }
    names = sorted(raw, reverse=not reverse)
    outputs = [
        {
            "name": name,
            "datatype": "FP32" if name == "score" else "BYTES",
            "shape": [1, len(scores) if name == "score" else 1],
            "parameters": {"binary_data_size": (sizes or {}).get(name, len(raw[name]))},
        }
        for name in names
    ]
    head = json.dumps({"model_name": "pm-1", "model_version": "1", "outputs": outputs}).encode()
    return len(head), head + b"".join(raw[name] for name in names)


def decode(head: int | None, body: bytes | None, tiers: int = TIERS) -> tuple[list[float], bytes] | None:
    """Return scores and intent, or None for nonsense."""
    found = _decode(head, body, tiers)
    return ([found[0][i] for i in range(1, tiers + 1)], found[1]) if found else None


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_read_exactly(value: float) -> None:
    """Every finite single is read as numpy reads it: negative, subnormal and zero too."""
    assert _float32(np.float32(value).tobytes(), 1) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_none(value: float) -> None:
    """NaN and infinities are no scores."""
    assert _float32(np.float32(value).tobytes(), 1) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8),
    st.binary(max_size=40),
    st.sampled_from([1, -1]),
)
def test_an_answer_is_read_in_either_order(scores: list[float], intent: bytes, step: int) -> None:
    """The header says where scores and intent lie, whichever comes first."""
    head, body = answer(scores, intent, reverse=step < 0)
    assert decode(head, body, len(scores)) == (scores, intent)


def test_other_outputs_are_passed_over() -> None:
    """A bundle that says more than we ask for is understood."""
    head = json.dumps(
        {
            "outputs": [
                {"name": "why", "parameters": {"binary_data_size": 3}},
                {"name": "intent", "parameters": {"binary_data_size": 5}},
                {"name": "score", "parameters": {"binary_data_size": 4}},
            ]
        }
    ).encode()
    body = head + b"abc" + b"\x01\0\0\0x" + np.float32(0.5).tobytes()
    assert decode(len(head), body, 1) == ([0.5], b"x")


GOOD_HEAD, GOOD = answer([0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(None, GOOD, id="no header length"),
        pytest.param(GOOD_HEAD, None, id="no body"),
        pytest.param(len(GOOD) + 1, GOOD, id="a header longer than the answer"),
        pytest.param(0, GOOD, id="an empty header"),
        pytest.param(-5, GOOD, id="a negative header"),
        pytest.param(10, GOOD, id="half a header"),
        pytest.param(GOOD_HEAD, GOOD[:-1], id="cut short"),
        pytest.param(len(b"{}"), b"{}", id="no outputs"),
        pytest.param(*answer([0.25, 0.5]), id="too few scores"),
        pytest.param(*answer([0.25, 0.5, 0.75, 1.0]), id="too many scores"),
        pytest.param(*answer([0.25, math.nan, 1.0]), id="not a number"),
        pytest.param(*answer([0.25, math.inf, 1.0]), id="infinite"),
        pytest.param(*answer([0.25, -0.01, 1.0]), id="below 0"),
        pytest.param(*answer([0.25, 0.5, 1.01]), id="above 1"),
        pytest.param(*answer([0.25, 0.5, 1.0], sizes={"intent": 3}), id="an intent without its length"),
        pytest.param(*answer([0.25, 0.5, 1.0], sizes={"intent": 7}), id="an intent of another length"),
        pytest.param(*answer([0.25, 0.5, 1.0], sizes={"intent": 4000}), id="an intent beyond the end"),
    ],
)
def test_what_a_bundle_does_not_promise_is_nonsense(head: int | None, body: bytes | None) -> None:
    """An answer that is not exactly scores for each tier and an intent decides nothing."""
    assert decode(head, body) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.integers(-9, 90), st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_answer_makes_it_fail(noise: bytes, head: int, at: int, byte: int) -> None:
    """Noise, and a good answer with one byte wrong, are read or refused."""
    decode(head, noise)
    decode(GOOD_HEAD, GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])


def test_remembers_no_layout_without_bound() -> None:
    """Headers that change with each answer are read right for ever, beyond what is remembered."""
    for size in range(600):
        head, body = answer([0.25, 0.5, 1.0], b"i" * size)
        assert decode(head, body) == ([0.25, 0.5, 1.0], b"i" * size)


def choose(
    scores: list[float],
    thresholds: list[tuple[int, int]],
    intents: dict[str, int] | None = None,
    intent: str = "chat",
) -> tuple[int, str, float]:
    """Return tier, reason and score of an arm with as many tiers as scores."""
    arm = {
        "last": len(scores),
        "intents": intents or {},
        "thresholds": [{"tier": tier, "permille": least} for tier, least in thresholds],
    }
    tier, reason, score = _choose(to_lua(LUA, arm), to_lua(LUA, scores), intent.encode())
    return int(tier), plain(reason), score


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([0.7, 0.9, 1.0], (1, Reason.SCORE, 0.7), id="the cheapest that is good enough"),
        pytest.param([0.6, 0.9, 1.0], (2, Reason.SCORE, 0.9), id="the next one"),
        pytest.param(
            [0.6, 0.7, 1.0], (3, Reason.BELOW_THRESHOLD, 0.7), id="none: the last, and the best score"
        ),
    ],
)
def test_the_cheapest_tier_at_its_threshold_serves(
    scores: list[float], expected: tuple[int, str, float]
) -> None:
    """Thresholds are asked cheap to strong; each tier has its own."""
    assert choose(scores, [(1, 640), (2, 800)]) == expected


@pytest.mark.parametrize("permille", [1, 64, 100, 333, 640, 700, 999, 1000])
def test_a_score_at_its_threshold_reaches_it(permille: int) -> None:
    """A threshold's value as a single may lie a hair below it, and still counts; six decimals tell."""
    exact = float(np.float32(permille / 1000))
    assert choose([exact, 1.0], [(1, permille)])[:2] == (1, Reason.SCORE)
    assert choose([permille / 1000 - 1e-6, 1.0], [(1, permille)])[:2] == (2, Reason.BELOW_THRESHOLD)


def test_an_intents_own_tier_comes_first() -> None:
    """A rule for an intent holds against any score."""
    assert choose([0.99, 0.5, 1.0], [(1, 640)], {"contracts": 2}, "contracts") == (2, Reason.INTENT_RULE, 0.5)


def test_other_intents_follow_the_scores() -> None:
    """A rule for one intent says nothing of the others."""
    assert choose([0.99, 0.5, 1.0], [(1, 640)], {"contracts": 2})[:2] == (1, Reason.SCORE)


def test_a_tier_without_a_threshold_is_never_chosen_by_score() -> None:
    """Only tiers with a threshold take part; without any, the last serves, with its own score."""
    assert choose([0.99, 0.99, 1.0], [(2, 999)]) == (3, Reason.BELOW_THRESHOLD, 0.99)
    assert choose([0.99, 0.99, 1.0], []) == (3, Reason.BELOW_THRESHOLD, 1.0)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 1_000_000), min_size=2, max_size=8),
    st.dictionaries(st.integers(1, 7), st.integers(0, 1000), max_size=7),
)
def test_the_rule_is_the_written_one(millionths: list[int], least: dict[int, int]) -> None:
    """For scores of six decimals, the tier is the first whose score reaches its threshold, else the last."""
    scores = [float(np.float32(each / 1e6)) for each in millionths]
    thresholds = [(tier, least[tier]) for tier in sorted(least) if tier < len(scores)]
    good = [tier for tier, permille in thresholds if millionths[tier - 1] >= permille * 1000]
    assert choose(scores, thresholds)[0] == (good[0] if good else len(scores))
