"""Delete revisions that nothing needs: those beyond the last ten, and those of policies that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.rollout.decide import surplus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.rollout.actions.writer import Writer
    from pointsman.rollout.observation import Observation, Stray


async def prune(o: Observation, writer: Writer) -> None:
    """Delete the oldest revisions beyond those that are kept; none that is in force."""
    for kept in surplus(o):
        await writer.delete_revision(o.policy.metadata.namespace, kept.name, kept.uid)


async def collect(namespace: str, strays: Iterable[Stray], writer: Writer) -> None:
    """Delete what an earlier policy of this name left, where no garbage collector does."""
    for stray in strays:
        await writer.delete_revision(namespace, stray.name, stray.uid)
