"""The demo's verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pointsman.lab.demo.letters import letter
from pointsman.lab.demo.result import Price, Result, as_json, evaluate
from pointsman.lab.load import Outcome
from pointsman.routers.dataset import Problem

N = 200
PRICES = {"cheap": Price(1.0, 2.0), "strong": Price(10.0, 20.0)}


def _problem() -> Problem:
    """Even prompts: both are right; odd ones: only strong is."""
    odd = np.arange(N) % 2 == 1
    return Problem(
        dataset="d",
        tiers=("c", "s"),
        prompt_ids=tuple(f"p{i}" for i in range(N)),
        texts=tuple(f"text {i}" for i in range(N)),
        intents=tuple("odd" if o else "even" for o in odd),
        references=("A",) * N,
        correct=np.column_stack([~odd, np.ones(N)]).astype(np.float64),
        cost_usd=np.column_stack([np.full(N, 0.001), np.full(N, 0.01)]),
        group_ids=tuple(f"g{i}" for i in range(N)),
        folds=np.full(N, 7),
    )


def _answer(tier: str, index: int) -> str:
    return "The answer is (A)." if tier == "strong" or index % 2 == 0 else "The answer is (B)."


RECORDED = {tier: {f"text {i}": _answer(tier, i) for i in range(N)} for tier in PRICES}


def _outcome(index: int, tier: str) -> Outcome:
    return Outcome(
        prompt=f"p{index}",
        session=f"s{index}",
        sent_at=0,
        done_at=1,
        status=200,
        tier=tier,
        reason="score",
        text=_answer(tier, index),
        prompt_tokens=1000,
        completion_tokens=500,
    )


def _evaluate(outcomes: list[Outcome]) -> Result:
    return evaluate(outcomes, _problem(), RECORDED, PRICES, streamed=0)


PERFECT = [_outcome(i, "strong" if i % 2 else "cheap") for i in range(N)]


def test_a_router_that_knows_is_better_than_chance() -> None:
    """All right with half the calls to strong: chance would be right in three of four."""
    result = _evaluate(PERFECT)
    assert result.separated
    assert result.failures == 0
    assert result.accuracy[0].routed == 1.0
    assert result.random_accuracy == pytest.approx(0.75)
    assert result.edge.value == pytest.approx(0.25)
    assert [(row.intent, row.strong_share) for row in result.accuracy] == [
        ("", 0.5),
        ("even", 0.0),
        ("odd", 1.0),
    ]
    assert result.cost_usd == pytest.approx(N / 2 * (0.002 + 0.02))
    assert result.strong_cost_usd == pytest.approx(N * 0.01)


def test_a_router_that_guesses_is_not() -> None:
    """The interval of the edge holds 0."""
    guesses = [_outcome(i, "strong" if i % 4 < 2 else "cheap") for i in range(N)]
    assert not _evaluate(guesses).separated


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (replace(PERFECT[0], status=503), "p0: status 503"),
        (replace(PERFECT[0], text="The answer is (C)."), "p0: the answer is not the one that cheap gave"),
        (replace(PERFECT[0], tier=""), "p0: served by nobody who says so"),
    ],
)
def test_a_request_that_was_not_answered_as_recorded_is_a_failure(spoilt: Outcome, words: str) -> None:
    """It is named, and counted for strong, as an error would be."""
    result = _evaluate([spoilt, *PERFECT[1:]])
    assert result.failures == 1
    assert result.failed == (words,)


def test_a_prompt_that_was_not_sent_once_is_a_failure() -> None:
    """Neither a missing nor a doubled one goes unseen."""
    result = _evaluate([*PERFECT[2:], PERFECT[2]])
    assert set(result.failed) == {"p0: sent 0 times", "p1: sent 0 times", "p2: sent 2 times"}


def test_the_result_is_plain_json() -> None:
    """`--json` prints it as it is."""
    assert as_json(_evaluate(PERFECT))["accuracy"][0]["intent"] is None


def test_letters_are_read_by_the_rule_of_the_recorded_verdicts() -> None:
    """Every recorded answer of the repository gives the letter that its record says."""
    import pyarrow.parquet as pq

    folder = Path(__file__).resolve().parents[3] / "data" / "mmlu-pro"
    table = pq.read_table(folder / "answers_mmlu_pro.parquet", columns=["answer", "pred"])
    pairs = zip(table.column("answer").to_pylist(), table.column("pred").to_pylist(), strict=True)
    assert [(text, pred) for text, pred in pairs if letter(str(text)) != pred] == []
