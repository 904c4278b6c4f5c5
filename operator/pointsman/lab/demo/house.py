"""A lab for the length of a demo; whatever happens, it is down afterwards (or up, with `keep`)."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.lab import control, running
from pointsman.lab.process import Child, LabError, Spec


@dataclass(frozen=True, slots=True)
class House:
    """How the lab is set up."""

    data: Path
    state_dir: Path | None = None
    """Default: a temporary folder."""
    tier_speed: float = 5.0
    keep: bool = False


@contextlib.contextmanager
def state(house: House) -> Iterator[Path]:
    """Yield the lab's folder; a temporary one is removed, but for its logs' sake not after a failure."""
    if house.state_dir is not None:
        yield house.state_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
    try:
        yield folder
    except Exception as error:
        error.add_note(f"the lab's logs are kept in {folder}")
        raise
    except BaseException:  # Ctrl-C
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not house.keep:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def lab(house: House, folder: Path, relay: Callable[[str], None]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start a lab; yield a function that waits until it is up and returns its status. End it."""
    arguments = ["--state", str(folder), "--data", str(house.data), "--tier-speed", str(house.tier_speed)]
    if house.keep:
        running.detach(arguments, folder, relay)
        yield lambda: control.ask(folder, {"do": "status"})
        relay(f"the lab stays up; `pointsman lab down --state {folder}` ends it")
        return
    if control.holder(folder) is not None:
        raise LabError(f"a lab runs already in {folder}; `pointsman lab down --state {folder}` ends it")
    log = running.log_path(folder, running.OWN_LOG)
    log.unlink(missing_ok=True)  # of an earlier lab in this folder
    child = Child(
        Spec(
            "lab",
            [sys.executable, "-m", "pointsman", "lab", "up", *arguments],
            log,
            address="",
            ready=lambda: running.is_up(folder),
            # The first time, binaries are built; the lab has a deadline of its own after that.
            start_deadline_s=3600,
            stop_grace_s=40,
        )
    )

    def up() -> dict[str, Any]:
        follow = running.follow(child.spec.log, relay)
        while not child.spec.ready() and child.exit_code() is None:
            follow()
            time.sleep(0.1)
        follow()
        if child.exit_code() is not None:
            raise LabError(f"the lab could not be started: see {child.spec.log}")
        return control.ask(folder, {"do": "status"})

    try:
        yield up
    finally:
        child.stop()
