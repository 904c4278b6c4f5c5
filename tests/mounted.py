"""A Secret as kubelet mounts it: files are links into a folder that is swapped as a whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pointsman.lab.pki import Pair


class Mounted:
    """A folder with `tls.crt`, `tls.key` and `ca.crt`; `put` renews all of them at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        folder.mkdir(parents=True)

    def put(self, pair: Pair, *authorities: Path) -> None:
        """Mount this certificate, and these authorities in one file."""
        self._number += 1
        version = self.folder / f"..{self._number}"
        version.mkdir()
        (version / "tls.crt").write_bytes(pair.cert.read_bytes())
        (version / "tls.key").write_bytes(pair.key.read_bytes())
        (version / "ca.crt").write_bytes(b"".join(path.read_bytes() for path in authorities))
        draft = self.folder / "..data_tmp"
        draft.symlink_to(version.name)
        os.replace(draft, self.folder / "..data")  # noqa: PTH105 - as kubelet does: rename(2)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
