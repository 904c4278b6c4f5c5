"""Marks in a route version: which plans an Envoy has acknowledged, told to a server that has just started.

The server keeps nothing, and an Envoy that reconnects says only the versions that it has. So the version of
the routes lists the plans in them, six bytes each. After a restart, what an Envoy has needs no second proof,
and a plan that it refuses is blamed alone instead of being looked for among all.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pointsman.plan.types import digest
from pointsman.xds.quarantine import form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.plan.types import PolicyPlan

_SIZE: Final = 6
_SEPARATOR: Final = "~"


def marked(version: str, plans: Iterable[PolicyPlan]) -> str:
    """Return a route version that lists these plans."""
    marks = b"".join(sorted(_mark(plan) for plan in plans))
    return version + _SEPARATOR + base64.b85encode(marks).decode()


def plans_in(version: str, plans: Iterable[PolicyPlan]) -> set[str]:
    """Return the keys of those plans that a route version lists; of any other string, none."""
    _, separator, text = version.partition(_SEPARATOR)
    if not separator:
        return set()
    try:
        marks = base64.b85decode(text)
    except ValueError:
        return set()
    known = {marks[i : i + _SIZE] for i in range(0, len(marks), _SIZE)}
    return {plan.key for plan in plans if _mark(plan) in known}


def _mark(plan: PolicyPlan) -> bytes:
    return bytes.fromhex(plan_digest(plan))[:_SIZE]


@lru_cache(maxsize=16_384)
def plan_digest(plan: PolicyPlan) -> str:
    """Return the plan's content name; generations that differ in nothing that is served share it."""
    return digest(form(plan))
