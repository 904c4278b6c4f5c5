"""Packages of the system (Debian, Ubuntu) that no wheel and no Go module brings: installed where root may."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pointsman.lab.process import LabError

_APT: Final = ("apt-get", "install", "--yes", "--no-install-recommends")
_APT_S: Final = 900


def command(packages: Sequence[str]) -> str:
    """Return what a user types to install packages."""
    return " ".join([*_APT, *packages])


def install(
    packages: Sequence[str], there: Callable[[], bool], say: Callable[[str], None], what: str = ""
) -> str | None:
    """Install packages by apt-get where this user may; return what stood in the way, or None if `there`."""
    problem = "only root can install packages"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return problem if os.geteuid() != 0 else "this system has no apt-get"
    say(f"installing {what or ', '.join(packages)} from the system's packages, once")
    for run in ([*_APT, *packages], ["apt-get", "update", "--quiet"], [*_APT, *packages]):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            run,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_APT_S,
            check=False,
            env=env,
        )
        if there():
            return None
        problem = done.stderr.strip()[-500:] or problem
    return problem


def ensure(needed: Mapping[str, str], why: str, say: Callable[[str], None]) -> None:
    """Have all files there (file, or command on PATH: its package), or raise `LabError` that says how."""

    def missing() -> list[str]:
        return sorted({package for file, package in needed.items() if not _is_there(file)})

    absent = missing()
    if not absent:
        return
    problem = install(absent, lambda: not missing(), say)
    if problem is not None:
        raise LabError(f"{why} needs {', '.join(missing())}: `{command(absent)}` ({problem})")


def _is_there(file: str) -> bool:
    return Path(file).exists() if "/" in file else shutil.which(file) is not None
