"""Real operator processes, quickly: one process has read all code and forks an operator for each line.

Run by `Nursery`; each line on stdin is a JSON list: the log file, then the arguments of `pointsman operator`.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    import click


class Nursery:
    """A context manager; operators end with it, or when they are killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._pipe(self._process.stdout).readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    @staticmethod
    def exit_code(log: Path, pid: int) -> int | None:
        """Return with which code an operator of this log ended by itself; None: it did not."""
        told = code_file(log, pid)
        return int(told.read_text()) if told.exists() else None

    def start(self, log: Path, arguments: Sequence[str]) -> int:
        """Start an operator; return its process id."""
        assert self._process is not None
        stdin = self._pipe(self._process.stdin)
        stdin.write(json.dumps([str(log), *arguments]) + "\n")
        stdin.flush()
        return int(self._pipe(self._process.stdout).readline())

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def code_file(log: Path, pid: int) -> Path:
    """Return where an operator writes its exit code."""
    return log.with_name(f"{log.name}.{pid}.code")


def _run(command: click.Command, arguments: list[str], log: Path) -> None:
    """Run the command as its console script does: the process ends with its code, once its threads have."""

    def tell(code: int) -> None:
        whole = code_file(log, os.getpid())
        whole.with_suffix(".new").write_text(str(code))
        whole.with_suffix(".new").rename(whole)

    try:
        command.main(args=arguments)
    except SystemExit as end:
        atexit.register(tell, end.code if isinstance(end.code, int) else 1)
        raise


def _main() -> None:
    # everything that an operator imports, while there is only one thread
    import pointsman.controllers.operator
    import pointsman.logs  # noqa: F401 - read now, so that no fork has to
    from pointsman.cli.operator import command

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        pid = os.fork()
        if pid:
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            continue
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        _run(command, arguments, Path(log))


if __name__ == "__main__":
    _main()
