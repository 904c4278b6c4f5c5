"""Whether a Triton may be asked to classify. Pure.

It opens once all models that traffic needs are loaded. Afterwards one model that is lost does not close it:
the pod's other models go on being asked, and requests for that one reach the last tier as they would anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.rollout.observation import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S: Final = 300.0
"""How long a model that fails to load keeps the others from being asked."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A model that traffic needs."""

    sha256: str
    phase: Phase
    message: str = ""
    failing_s: float = 0.0
    """For how long the attempts to load it have failed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """May it be asked, and what it waits for."""

    ready: bool
    why: str


def verdict(
    needed: Sequence[Needed],
    *,
    read: bool,
    answers: bool,
    was_open: bool,
    patience_s: float = PATIENCE_S,
) -> Verdict:
    """Return whether the Triton may be asked.

    `read`: the list of models has been read once; `answers`: Triton did when it was last asked;
    `was_open`: the last verdict, for the same run of Triton.
    """
    if not read:
        return Verdict(ready=False, why="has not read yet which models it shall hold")
    if not answers:
        return Verdict(ready=False, why="Triton does not answer")
    missing = [model for model in needed if model.phase != Phase.READY]
    if not missing:
        return Verdict(ready=True, why=f"ready: all {len(needed)} models in traffic are loaded")
    some = len(missing) < len(needed)
    told = _told(missing)
    if some and was_open:
        return Verdict(ready=True, why=f"ready, but {told}")
    if some and all(model.failing_s >= patience_s for model in missing):
        return Verdict(ready=True, why=f"ready in spite of what cannot be loaded: {told}")
    return Verdict(ready=False, why=f"waits for {told}")


def _told(missing: Sequence[Needed]) -> str:
    first = missing[0]
    words = f"pm-{first.sha256[:12]}…" + (f" ({first.message})" if first.message else "")
    return words if len(missing) == 1 else f"{words} and {len(missing) - 1} more"
