"""Freeze what the spec asks for into an immutable RoutingPolicyRevision, owned by the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.rollout.revisions import manifest

if TYPE_CHECKING:
    from pointsman.rollout.actions.writer import Writer
    from pointsman.rollout.observation import Observation


async def freeze_revision(o: Observation, writer: Writer) -> None:
    """Create the desired revision. If one of that name is there after all, it is seen at the next tick."""
    await writer.create_revision(manifest(o.policy))
