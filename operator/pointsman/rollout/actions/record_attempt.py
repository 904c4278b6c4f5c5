"""Write what became of an attempt into the candidate's revision: it outlives the policy's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.rollout.actions.writer import Writer
    from pointsman.rollout.record import Recording


async def record_attempt(namespace: str, due: Recording, writer: Writer) -> None:
    """Merge the record into the revision's status, on the version that it was made from."""
    await writer.patch_revision_status(namespace, due.kept.name, due.patch, due.kept.resource_version)
