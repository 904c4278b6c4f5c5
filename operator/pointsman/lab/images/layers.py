"""Layers as tar files that depend on their content alone: names sorted, owner root, one time, two modes."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

EPOCH = 0
"""Seconds since 1970 that every file and image bears as its time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, link or folder of a layer; `path` is relative to the root of the image."""

    path: PurePosixPath
    source: Path | None = None
    """File with the content."""
    content: bytes = b""
    """The content, where there is no `source`."""
    executable: bool = False
    link: str | None = None
    """Target of a symbolic link."""


def tree(source: Path, at: str) -> Iterator[Entry]:
    """Return everything below a folder as entries below `at`; links stay links."""
    for path in source.rglob("*"):
        target = PurePosixPath(at.lstrip("/")) / PurePosixPath(path.relative_to(source))
        if path.is_symlink():
            yield Entry(target, link=str(path.readlink()))
        elif path.is_file():
            yield Entry(target, source=path, executable=bool(path.stat().st_mode & stat.S_IXUSR))


def file(source: Path, at: str) -> Entry:
    """Return one file as an entry; executable as on this machine."""
    return Entry(PurePosixPath(at.lstrip("/")), source=source, executable=bool(source.stat().st_mode & 0o100))


def program(content: bytes, at: str) -> Entry:
    """Return an executable file with this content."""
    return Entry(PurePosixPath(at.lstrip("/")), content=content, executable=True)


def write(entries: Iterator[Entry] | list[Entry], out: IO[bytes]) -> None:
    """Write a layer; of two entries with one path the later one counts."""
    by_path = {entry.path: entry for entry in entries}
    folders = {folder for path in by_path for folder in path.parents if folder.name}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({*by_path, *folders}):
            if path in by_path:
                _add(tar, by_path[path])
            else:
                info = _info(path)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = _info(entry.path)
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
        return
    info.mode = 0o755 if entry.executable else 0o644
    if entry.source is None:
        info.size = len(entry.content)
        tar.addfile(info, io.BytesIO(entry.content))
        return
    info.size = entry.source.stat().st_size
    with entry.source.open("rb") as stream:
        tar.addfile(info, stream)


def _info(path: PurePosixPath) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))
    info.mtime = EPOCH
    return info
