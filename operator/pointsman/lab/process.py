"""Child processes that never outlive us: own process group, log file, a deadline on every wait."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

LOCALHOST: Final = "127.0.0.1"

_SHIM: Final = """
import ctypes, os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
# A shim between us and the child asks the kernel (PR_SET_PDEATHSIG) to kill it when we die, even by kill -9,
# then becomes the child: the pid stays. Not preexec_fn: that forks a process which may hold gRPC's locks.
# The kernel watches the *thread* that started the child: start children in one that lives as long as they do.


class LabError(Exception):
    """The lab cannot do what was asked; the text names the part and the remedy."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run and how to see that it works."""

    name: str
    command: Sequence[str]
    log: Path
    address: str
    """`host:port` at which others find it."""
    ready: Callable[[], bool] = field(repr=False)
    """One look, without patience of its own (≤ 2 s): does it serve?"""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to our own environment."""
    start_deadline_s: float = 60.0
    stop_grace_s: float = 5.0


class Child:
    """One run of a `Spec`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), *spec.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.env},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Process id, also id of its process group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return None while it runs; afterwards minus the signal or the exit code. Its group is gone then."""
        if self._process.returncode is None and _has_exited(self.pid):
            # The pid is ours until it is reaped, so the group id cannot be somebody else's yet.
            _signal_group(self.pid, signal.SIGKILL)
        return self._process.poll()

    def wait_ready(self, deadline_s: float | None = None, every_s: float = 0.05) -> None:
        """Wait until `spec.ready()`; raise `LabError` with the log's tail when it dies or is late."""
        patience = self.spec.start_deadline_s if deadline_s is None else deadline_s
        end = time.monotonic() + patience
        while not self.spec.ready():
            code = self.exit_code()
            if code is not None:
                raise LabError(f"{self.spec.name} {ended(code)} while starting; {tail(self.spec.log)}")
            if time.monotonic() > end:
                raise LabError(f"{self.spec.name} is not ready after {patience:.0f} s; {tail(self.spec.log)}")
            time.sleep(every_s)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM to its group); does not wait."""
        if self.exit_code() is None:
            _signal_group(self.pid, signal.SIGTERM)

    def stop(self) -> int:
        """End it: TERM, after the grace KILL; return its exit code."""
        self.terminate()
        end = time.monotonic() + self.spec.stop_grace_s
        while self.exit_code() is None and time.monotonic() < end:
            time.sleep(0.02)
        return self.kill()

    def kill(self) -> int:
        """End it at once, with its whole group; return its exit code."""
        if self.exit_code() is None:
            _signal_group(self.pid, signal.SIGKILL)
        return self._process.wait()


class Runnable:
    """What `with` and `async with` start, wait for until it serves, and end; also where that fails midway."""

    def start(self) -> object:
        """Start without waiting."""
        raise NotImplementedError

    def wait_ready(self) -> None:
        """Wait until it serves."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what runs of it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        try:
            self.start()  # in the caller's thread: see _SHIM
            await asyncio.to_thread(self.wait_ready)
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)


class Server(Runnable):
    """A launcher for one server."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.child: Child | None = None

    def start(self) -> Child:
        """Start without waiting."""
        self.child = Child(self.spec)
        return self.child

    def wait_ready(self) -> None:
        """Wait until it serves, if it runs."""
        if self.child is not None:
            self.child.wait_ready()

    def stop(self) -> None:
        """End it, if it runs."""
        if self.child is not None:
            self.child.stop()
            self.child = None


def ended(code: int) -> str:
    """Say how a process ended."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def tail(log: Path, lines: int = 10, most: int = 16384, width: int = 500) -> str:
    """Return the last lines of a log, with its path, as text for an error."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        return f"its log {log} cannot be read: {error}"
    # A traceback within a JSON line is long, and says what it is at both ends.
    short = (
        line if len(line) <= width else f"{line[: width // 2]} … {line[-width // 2 :]}"
        for line in text.splitlines()
    )
    last = "\n".join("    " + line for line in [*short][-lines:])
    return f"the end of its log {log}:\n{last}" if last else f"its log {log} is empty"


_handed_out: set[int] = set()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now and was not handed out before, as long as we live.

    It lies outside the range for outgoing connections: a part that restarts would else lose its port to one,
    and a client that retries a dead port could connect to itself.
    """
    low, high = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    pool = [port for port in range(10000, 65536) if not low <= port <= high]
    reservations = _reservations()
    for port in random.sample(pool, len(pool)):
        if port in _handed_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOCALHOST, port))
            # others that choose one before this one is bound leave it alone
            fcntl.lockf(reservations, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            _handed_out.add(port)
            return port
    raise LabError("no free TCP port on 127.0.0.1; end what listens there")


@functools.cache
def _reservations() -> int:
    """Return a file that all processes share; byte n is locked for port n until its process ends, however."""
    path = Path(tempfile.gettempdir()) / f"pointsman-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    return [free_port() for _ in range(count)]


def listens(port: int, host: str = LOCALHOST) -> bool:
    """Say whether somebody accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _has_exited(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal_group(group: int, number: signal.Signals) -> None:
    # EPERM: only zombies are left in the group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
