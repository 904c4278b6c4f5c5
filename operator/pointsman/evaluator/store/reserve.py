"""Room that is set aside on a file's volume: what deletes needs some, too, and a full volume has none.

Rows are written only while the reserve is there. A deletion that finds the volume full gives it up, and has
the room that the write-ahead log takes until what was deleted is given back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

RESERVE_BYTES: Final = 32 << 20
"""Several times what one transaction writes (`intake.BATCH_BYTES`): that is in log and file at once."""


class Reserve:
    """A file beside the store. Whoever deletes may remove it, also from another process."""

    def __init__(self, store: Path, size: int = RESERVE_BYTES) -> None:
        self._path = store.with_name(f"{store.name}.reserve")
        self._size = size

    @property
    def held(self) -> bool:
        """Whether it is there, whole."""
        try:
            return self._path.stat().st_size == self._size
        except OSError:
            return False

    def take(self) -> None:
        """Set the room aside; OSError if there is not that much."""
        if self.held:
            return
        part = self._path.with_name(f"{self._path.name}.part")
        file = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size)
            part.rename(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)

    def leave(self) -> None:
        """End; it stays for the next run where room is scarce."""
        try:
            volume = os.statvfs(self._path.parent)
        except OSError:
            return
        if volume.f_bavail * volume.f_frsize > self._size:
            self.give_up()

    def give_up(self) -> bool:
        """Give the room back; tell whether there was any."""
        was = self._path.exists()
        self._path.unlink(missing_ok=True)
        return was
