"""Small problems and bundles: fitted in a fraction of a second, with an answer that is known."""

from __future__ import annotations

from functools import cache

import numpy as np

from pointsman.routers import linear
from pointsman.routers.dataset import Problem
from pointsman.triton import bundle as bundles

SUMS = ["add", "subtract", "multiply", "divide", "number", "total", "ratio", "percent", "equation", "root"]
PROSE = ["poem", "verse", "novel", "author", "tone", "metaphor", "theme", "irony", "stanza", "chorus"]


def problem(tiers: int = 2, n: int = 1500, *, seed: int = 0, signal: bool = True) -> Problem:
    """Make prompts on sums, which the cheap tiers answer as well, and on prose, which only the last one does.

    Without `signal`, who is right has nothing to do with the prompt.
    """
    rng = np.random.default_rng(seed)
    texts, intents, rows = [], [], []
    for at in range(n):
        sums = bool(rng.random() < 0.5)
        words = rng.choice(SUMS if sums else PROSE, size=8)
        texts.append(f"Question {at}: {' '.join(words)}?")
        intents.append("sums" if sums else "prose")
        easy = sums if signal else bool(rng.random() < 0.5)
        cheap = rng.random(tiers - 1) < (0.9 if easy else 0.3)
        rows.append([*cheap.astype(float), float(rng.random() < 0.9)])
    names = [f"tier-{at}" for at in range(tiers - 1)]
    return Problem(
        dataset="tiny",
        tiers=(*names, "last"),
        prompt_ids=tuple(f"tiny/{at}" for at in range(n)),
        texts=tuple(texts),
        intents=tuple(intents),
        references=("",) * n,
        correct=np.array(rows),
        cost_usd=np.tile(10.0 ** np.arange(-5, tiers - 5), (n, 1)),
        group_ids=tuple(f"group-{at // 2}" for at in range(n)),
        folds=np.arange(n) // 2 % 10,
    )


@cache
def fitted(tiers: int = 2) -> bundles.Bundle:
    """Return a bundle fitted on `problem(tiers)`."""
    return linear.fit(problem(tiers))


@cache
def file(tiers: int = 2) -> bytes:
    """Return the same as a bundle file."""
    bundle = fitted(tiers)
    return bundles.pack(bundle.manifest, bundle.vocabulary, bundle.arrays)
