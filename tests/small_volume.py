"""A file system of 80 MiB, and how to fill it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1 << 20


@contextmanager
def small_volume(place: Path) -> Iterator[Path]:
    """Mount it on an empty folder of that name; skip, and say so, where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system: a full volume is NOT tested")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "pointsman-test", str(place)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs ({done.stderr.strip()}): a full volume is NOT tested")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(volume: Path, *, reserve: bool = True) -> Path:
    """Take all the room that is left, as somebody else's file; also what is set aside unless `reserve`."""
    file, kept = volume / "somebody-elses", volume / "requests.sqlite.reserve"
    while True:
        with file.open("ab", buffering=0) as out:
            for size in (MIB, 4096, 1):
                try:
                    while out.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue
        if reserve or not kept.exists():
            return file
        kept.unlink(missing_ok=True)  # its owner may be quicker in taking the room again
