"""Have the desired revision's bundle fetched and verified. The Triton pool loads `rollout.wants`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.rollout.observation import Observation, Source


def load_classifier(o: Observation, request: Callable[[Source], None]) -> None:
    """Ask for the bundle, unless this revision is in force: then only a server that lost it needs it."""
    if o.classifier is not None and not o.promoted:
        request(o.classifier.source)
