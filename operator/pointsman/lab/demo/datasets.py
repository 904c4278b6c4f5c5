"""Data sets that policies refer to, from recorded prompts: references by hash, and cases for a gate. Pure."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pointsman.evaluator.turns import text_sha256
from pointsman.triton.backend.request import bound

if TYPE_CHECKING:
    from pointsman.routers.dataset import Problem


def references(problem: Problem) -> bytes:
    """Return the right answer of each prompt, by the prompt's SHA-256, as gzipped JSON lines.

    A prompt that stands there twice keeps its first reference, as the replay tiers keep its first answer.
    """
    first: dict[str, str] = {}
    for text, reference in zip(problem.texts, problem.references, strict=True):
        first.setdefault(text_sha256(bound(text)), reference)
    return _lines({"promptSha256": digest, "reference": found} for digest, found in first.items())


def gate(problem: Problem, *, cases: int, seed: int = 0, without: Sequence[str] = ()) -> bytes:
    """Return so many cases drawn at random (all, if there are no more), none of the intents `without`."""
    rows = [at for at, intent in enumerate(problem.intents) if intent not in without]
    random.Random(seed).shuffle(rows)  # noqa: S311 - repeatable, not secret
    return _lines(
        {
            "prompt": problem.texts[at],
            "reference": problem.references[at],
            "intent": problem.intents[at],
            "group": problem.group_ids[at],
        }
        for at in sorted(rows[:cases])
    )


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    return gzip.compress(text.encode(), mtime=0)  # the same data gives the same digest
