"""A copy of a running etcd's data, and back again: what `etcdctl snapshot` and a restore do to a cluster."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

from pointsman.lab.process import LabError

if TYPE_CHECKING:
    from pathlib import Path


def copy(data: Path, pid: int, to: Path) -> None:
    """Copy etcd's data folder to `to`, which must not exist; etcd (its pid) stands still meanwhile.

    The copy is what `kill -9` would leave: etcd reads its log again when it starts on it.
    """
    if to.exists():
        raise LabError(f"{to} is there already; name a folder that is not")
    os.kill(pid, signal.SIGSTOP)
    try:
        shutil.copytree(data, to)
    finally:
        os.kill(pid, signal.SIGCONT)


def put_back(data: Path, copied: Path) -> None:
    """Replace the data folder of an etcd that does not run by a copy; the copy stays."""
    fresh, old = data.with_name(f"{data.name}.fresh"), data.with_name(f"{data.name}.old")
    shutil.copytree(copied, fresh)
    data.rename(old)
    fresh.rename(data)
    shutil.rmtree(old)
