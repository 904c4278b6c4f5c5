"""The real PostgreSQL (13 or later), on a folder of its own, for tests of several evaluators on one store."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pointsman.lab import binaries
from pointsman.lab.process import LOCALHOST, LabError, Server, Spec, free_port

USER: Final = "pointsman"
DATABASE: Final = "pointsman"
_INIT_S: Final = 120
_SAFE_USERS: Final = ("postgres", "nobody")
"""PostgreSQL does not run as root: who runs it instead."""


class Postgres(Server):
    """One PostgreSQL. Everybody on this machine may log in without a password unless `password` is given."""

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        password: str = "",
        settings: tuple[str, ...] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take `settings` of postgresql.conf, for instance `max_connections=20`."""
        binary = binaries.ensure(binaries.POSTGRES, say)
        self._user = _user()
        self._own = None if self._user is None else Path(tempfile.mkdtemp(prefix="pointsman-postgres-"))
        """Where it lies if somebody else runs it, who may not look into our folders."""
        home = (self._own or state_dir.resolve()) / "postgres"
        if self._own is not None and self._user is not None:
            os.chown(self._own, self._user.pw_uid, self._user.pw_gid)
        self.port = port or free_port()
        self.url = f"postgresql://{USER}@{LOCALHOST}:{self.port}/{DATABASE}"
        if not (home / "PG_VERSION").exists():
            self._init(binary, home, password)
        options = (
            f"port={self.port}",
            f"listen_addresses={LOCALHOST}",
            "unix_socket_directories=",
            "fsync=off",
        )
        command = [*self._as_user(), str(binary), "-D", str(home)]
        command += [part for option in (*options, *settings) for part in ("-c", option)]
        log = state_dir.resolve() / "log" / "postgres.log"
        address = f"{LOCALHOST}:{self.port}"
        isready = binary.resolve().with_name("pg_isready")
        super().__init__(Spec("postgres", command, log, address, lambda: _answers(isready, self.port)))

    def __exit__(self, *exception: object) -> None:
        """End it, and remove what it kept outside of our folder."""
        super().__exit__(*exception)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _init(self, binary: Path, home: Path, password: str) -> None:
        """Make an empty cluster with one database, in one go: a folder that is there is whole."""
        part = home.with_name(f".{home.name}.new")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        secret = part.with_name(f".{home.name}.password")
        secret.touch(0o600)
        secret.write_text(password or "unused", encoding="utf-8")
        if self._user is not None:
            for path in (part, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        tools = binary.resolve().parent
        way = "scram-sha-256" if password else "trust"
        init = [str(tools / "initdb"), "-D", str(part), "-U", USER, f"--auth={way}", f"--pwfile={secret}"]
        init += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run(init)
        create = f"CREATE DATABASE {DATABASE};"
        self._run([str(binary), "--single", "-D", str(part), "template1"], create)
        secret.unlink()
        part.rename(home)

    def _run(self, command: list[str], said: str = "") -> None:
        done = subprocess.run(
            [*self._as_user(), *command],
            input=said,
            capture_output=True,
            text=True,
            timeout=_INIT_S,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise LabError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-800:]}")

    def _as_user(self) -> list[str]:
        if self._user is None:
            return []
        # The kernel forgets whose death ends a process when that changes its user.
        return [
            "setpriv",
            "--pdeathsig=SIGQUIT",
            f"--reuid={self._user.pw_uid}",
            f"--regid={self._user.pw_gid}",
            "--clear-groups",
        ]


def _user() -> pwd.struct_passwd | None:
    """Return whom to become; None: we are not root, and stay who we are."""
    if os.geteuid() != 0:
        return None
    for name in _SAFE_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LabError(f"PostgreSQL does not run as root, and there is none of {', '.join(_SAFE_USERS)}")


def _answers(isready: Path, port: int) -> bool:
    """Tell whether the server takes connections, and is not still starting."""
    ask = [str(isready), "--quiet", f"--host={LOCALHOST}", f"--port={port}", "--timeout=1"]
    return subprocess.run(ask, check=False, timeout=10, stdin=subprocess.DEVNULL).returncode == 0
