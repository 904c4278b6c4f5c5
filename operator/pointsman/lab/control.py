"""How commands reach a running lab: one JSON line each way over a Unix socket in its state folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from pointsman.lab.process import LabError

_SOCKET: Final = "control.sock"
_LOCK: Final = "lab.lock"
_ANSWER_S: Final = 10.0
_DOWN_S: Final = 30.0
_CLAIM_S: Final = 1.0

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@contextlib.contextmanager
def claim(state_dir: Path) -> Iterator[None]:
    """Be the only lab of this folder; `LabError` if another one is. Ends with the process in any case."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / _LOCK).open("a+") as lock:
        # Whoever asks for the `holder` has the lock for a moment, too.
        end = time.monotonic() + _CLAIM_S
        while not _locked(lock, fcntl.LOCK_EX):
            if time.monotonic() > end:
                raise LabError(
                    f"a lab runs already in {state_dir}: see `pointsman lab status`, or end it by `lab down`"
                )
            time.sleep(0.02)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder(state_dir: Path) -> int | None:
    """Return the pid of the lab that runs in this folder, or None."""
    try:
        with (state_dir / _LOCK).open() as lock:
            return None if _locked(lock, fcntl.LOCK_SH) else int(lock.read() or 0)
    except FileNotFoundError:
        return None


def _locked(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.asynccontextmanager
async def serve(state_dir: Path, handler: Handler) -> AsyncIterator[None]:
    """Answer commands; a `LabError` of the handler becomes the caller's."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            try:
                reply = await handler(json.loads(await reader.readline()))
            except LabError as error:
                reply = {"error": str(error)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()

    with _short(state_dir) as path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - of a lab that was killed
        server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()
        (state_dir / _SOCKET).unlink(missing_ok=True)


def ask(state_dir: Path, command: dict[str, Any], timeout_s: float = _ANSWER_S) -> dict[str, Any]:
    """Send a command to the lab that runs in this folder; return its answer. `LabError` if none runs."""
    try:
        with _short(state_dir) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("rb") as answer:
                reply: dict[str, Any] = json.loads(answer.readline())
    except TimeoutError:
        raise LabError(f"the lab in {state_dir} gives no answer within {timeout_s:.0f} s") from None
    except (OSError, ValueError):
        raise LabError(f"no lab runs in {state_dir}; start one with `pointsman lab up`") from None
    if "error" in reply:
        raise LabError(reply["error"])
    return reply


def end(state_dir: Path) -> bool:
    """End the lab of this folder and wait until it is gone; False if none ran."""
    pid = holder(state_dir)
    if pid is None:
        return False
    # All parts die with it, whichever way it goes.
    for number, patience in ((signal.SIGTERM, _DOWN_S), (signal.SIGKILL, _DOWN_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            if holder(state_dir) != pid:
                return True
            time.sleep(0.05)
    raise LabError(f"the lab in {state_dir}, pid {pid}, does not end")


@contextlib.contextmanager
def _short(state_dir: Path) -> Iterator[str]:
    """Yield a short path of the socket: 107 bytes at most, and a state folder may lie deep."""
    descriptor = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
