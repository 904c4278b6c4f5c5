"""Data sets that the examples refer to."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from pointsman.evaluator.turns import turn_sha256
from pointsman.lab.demo.datasets import gate, references
from pointsman.routers.dataset import Problem

TEXTS = (" What? \n", "Why?", "Why?", "x" * 20_000)


def _problem() -> Problem:
    n = len(TEXTS)
    return Problem(
        dataset="d",
        tiers=("a", "b"),
        prompt_ids=tuple(f"p{i}" for i in range(n)),
        texts=TEXTS,
        intents=("law", "math", "math", "law"),
        references=("A", "B", "C", "D"),
        correct=np.ones((n, 2)),
        cost_usd=np.ones((n, 2)),
        group_ids=tuple(f"g{i}" for i in range(n)),
        folds=np.zeros(n, dtype=np.int64),
    )


def _rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def test_a_request_finds_its_reference_by_the_hash_of_its_last_turn() -> None:
    """White space, great length and doubles included; a text that stands there twice has its first answer."""
    found = {row["promptSha256"]: row["reference"] for row in _rows(references(_problem()))}
    bodies = [json.dumps({"messages": [{"role": "user", "content": text}]}).encode() for text in TEXTS]
    assert [found[turn_sha256(body)] for body in bodies] == ["A", "B", "B", "D"]


def test_a_gate_may_lack_an_intent() -> None:
    """That is how it misses what happens there."""
    assert {row["intent"] for row in _rows(gate(_problem(), cases=10, without=["law"]))} == {"math"}


def test_a_gate_is_drawn_by_a_seed() -> None:
    """The same seed gives the same bytes, and so the same digest."""
    assert gate(_problem(), cases=2, seed=1) == gate(_problem(), cases=2, seed=1)
    assert len(_rows(gate(_problem(), cases=2))) == 2
