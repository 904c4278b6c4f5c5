"""A lab from `up` to `down`: in this process, or in one of its own that outlives the command."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pointsman.lab import control, host
from pointsman.lab.process import LabError
from pointsman.lab.supervisor import Supervisor

OWN_LOG: Final = "lab"
"""Name under which the lab's own log is shown."""
# Only what a lab makes itself: somebody may give a folder that holds other things, too.
_FOLDERS: Final = ("envoy", "etcd", "log", "mesh", "pki", "prometheus", "triton")
_FILES: Final = ("*.kubeconfig", "evaluator.sqlite*", "control.sock")


def run(options: Any, say: Callable[[str], None], deadline_s: float) -> None:
    """Run a lab in this process until SIGINT, SIGTERM or SIGHUP. `options`: `parts.Options`."""
    check_host()
    from pointsman.lab import parts  # needs Envoy's and Triton's wheels

    with control.claim(options.state_dir):
        _clear(options.state_dir)
        lab = parts.build(options, say)
        asyncio.run(_run(lab, options.state_dir, say, deadline_s))


def check_host() -> None:
    """Raise `LabError` if this machine cannot run a lab."""
    problem = host.problem()
    if problem is not None:
        raise LabError(problem)


async def _run(lab: Any, state_dir: Path, say: Callable[[str], None], deadline_s: float) -> None:
    supervisor = Supervisor(lab.parts, say)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def handle(command: dict[str, Any]) -> dict[str, Any]:
        match command.get("do"):
            case "status":
                return {
                    "parts": supervisor.status(),
                    "entry": lab.entry,
                    "kubeconfig": str(lab.kubeconfig),
                    "prometheus": lab.prometheus,
                }
            case "up":
                return {"up": supervisor.up.is_set()}
            case "restart":
                keeper = supervisor.keepers.get(str(command.get("name")))
                if keeper is None:
                    names = ", ".join(supervisor.keepers)
                    raise LabError(f"no part is named {command.get('name')}; there are {names}")
                keeper.restart()
                return {}
        raise LabError(f"unknown command {command}")

    async def greet() -> None:
        await supervisor.up.wait()
        say(f"the lab is up: requests go to {lab.entry}; export KUBECONFIG={lab.kubeconfig}")

    async with control.serve(state_dir, handle):
        greeting = asyncio.create_task(greet())
        try:
            await supervisor.run(stop, deadline_s)
        finally:
            greeting.cancel()
    say("the lab is down")


def detach(
    arguments: list[str],
    state_dir: Path,
    say: Callable[[str], None],
    verb: tuple[str, ...] = ("lab", "up"),
) -> None:
    """Start `pointsman lab up` with these arguments in a session of its own; return when it is up."""
    if control.holder(state_dir) is not None:
        with control.claim(state_dir):  # raises, and says what to do
            return
    state_dir.mkdir(parents=True, exist_ok=True)
    log = log_path(state_dir, OWN_LOG)
    own = "_".join(["POINTSMAN", *verb, ""]).upper()
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "pointsman", *verb, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    tell = follow(log, say)
    try:
        while child.poll() is None and not is_up(state_dir):
            tell()
            time.sleep(0.1)
        tell()
    except BaseException:
        if child.poll() is None:
            child.terminate()
            child.wait()
        raise
    if child.poll() is not None:
        raise LabError(f"`pointsman {' '.join(verb)}` could not start: see {log}")


def log_path(state_dir: Path, name: str) -> Path:
    """Return the log of a part, or the lab's own."""
    return state_dir / "lab.log" if name == OWN_LOG else state_dir / "log" / f"{name}.log"


def is_up(state_dir: Path) -> bool:
    """Say whether the lab of this folder is up: every part was ready."""
    try:
        return control.ask(state_dir, {"do": "up"})["up"] is True
    except LabError:
        return False


def follow(log: Path, say: Callable[[str], None]) -> Callable[[], None]:
    """Return a function that says every line which has come to the log since its last call."""
    at = 0

    def tell() -> None:
        nonlocal at
        with log.open("rb") as stream:
            stream.seek(at)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        at += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            say(line)

    return tell


def _clear(state_dir: Path) -> None:
    for name in _FOLDERS:
        shutil.rmtree(state_dir / name, ignore_errors=True)
    for pattern in _FILES:
        for path in state_dir.glob(pattern):
            path.unlink()
