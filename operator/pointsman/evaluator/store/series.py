"""How a series is written in its row."""

from __future__ import annotations

import json
from functools import lru_cache

from pointsman.evaluator.totals import Series


@lru_cache(8192)
def labels_of(labels: tuple[str, ...]) -> str:
    """Return a series' labels as its row has them."""
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


def series_of(family: str, labels: str, part: str) -> Series:
    """Return a series as its row names it."""
    return Series(family, tuple(json.loads(labels)), part)
