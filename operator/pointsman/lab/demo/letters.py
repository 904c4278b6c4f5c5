"""Which option a multiple-choice answer chose, read from its text. Pure."""

from __future__ import annotations

import re
from typing import Final

# The rule by which the verdicts in data/mmlu-pro were made (see its README), tried in this order.
_RULES: Final = (
    re.compile(r"answer is \(?([A-J])\)?"),
    re.compile(r"[aA]nswer:\s*([A-J])"),
    re.compile(r"\b([A-J])\b(?!.*\b[A-J]\b)", re.DOTALL),
)


def letter(text: str) -> str | None:
    """Return the chosen letter: after `answer is`, else after `answer:`, else the last that stands alone."""
    for rule in _RULES:
        found = rule.search(text)
        if found is not None:
            return found.group(1)
    return None
