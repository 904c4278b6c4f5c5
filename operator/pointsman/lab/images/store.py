"""The store of layers in the cache folder: made once for each content of what they are made from."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, cast

from pointsman.lab.images.oci import Blob, Layer

_KEPT: Final = 3
"""So many versions of each layer are kept: two working trees and a branch do not evict each other."""
_PIECE: Final = 1 << 20


class Store:
    """Blobs by digest, and which blob was made from what."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs" / "sha256"
        self._made = folder / "made"
        for each in (self._blobs, self._made):
            each.mkdir(parents=True, exist_ok=True)

    def path(self, blob: Blob) -> Path:
        """Return the file of a blob."""
        return self._blobs / blob.digest.removeprefix("sha256:")

    def find(self, name: str, inputs: Any) -> Layer | None:
        """Return the layer that was made from these inputs (JSON), or None."""
        note = self._note(name, inputs)
        if not note.exists():
            return None
        blob = Blob(**json.loads(note.read_text("utf-8")))
        if not self.path(blob).exists():
            return None
        os.utime(note)
        return Layer(name, blob)

    def layer(self, name: str, inputs: Any, make: Callable[[IO[bytes]], None]) -> Layer:
        """Return the layer that is made from `inputs`; `make` writes its tar if there is none yet."""
        found = self.find(name, inputs)
        if found is not None:
            return found
        with tempfile.NamedTemporaryFile(dir=self._blobs, prefix=".", delete=False) as part:
            try:
                make(cast("IO[bytes]", part))
                part.flush()
                blob = Blob(f"sha256:{_sha256(Path(part.name))}", Path(part.name).stat().st_size)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
        # The note first: whoever evicts sweeps blobs without one; a note without its blob counts for none.
        note = self._note(name, inputs)
        written = note.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps({"digest": blob.digest, "size": blob.size}), "utf-8")
        written.rename(note)
        Path(part.name).rename(self.path(blob))
        self._evict(name)
        return Layer(name, blob)

    def _evict(self, name: str) -> None:
        """Remove the versions of a layer that were not used for longest, and blobs that nothing names."""
        notes = sorted(self._made.glob(f"{name}@*.json"), key=lambda note: note.stat().st_mtime, reverse=True)
        for note in notes[_KEPT:]:
            note.unlink(missing_ok=True)
        named = {json.loads(note.read_text("utf-8"))["digest"] for note in self._made.glob("*.json")}
        for blob in self._blobs.glob("[0-9a-f]*"):
            if f"sha256:{blob.name}" not in named:
                blob.unlink(missing_ok=True)

    def _note(self, name: str, inputs: Any) -> Path:
        text = json.dumps(inputs, sort_keys=True)
        return self._made / f"{name}@{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def fingerprint(folder: Path, pattern: str = "*") -> str:
    """Return a digest of all files below a folder: names and contents; compiled Python does not count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
