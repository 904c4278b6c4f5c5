"""Make room: the desired name is taken by a revision that an earlier policy of the same name left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.rollout.actions.writer import Writer
    from pointsman.rollout.observation import Observation


async def replace_stray(o: Observation, writer: Writer) -> None:
    """Delete it; the next tick freezes this policy's own."""
    for stray in o.strays:
        if stray.name == o.desired:
            await writer.delete_revision(o.policy.metadata.namespace, stray.name, stray.uid)
