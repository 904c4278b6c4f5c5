"""The real PgBouncer before a PostgreSQL of the lab."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Literal

import pytest

from pointsman.lab import packages
from pointsman.lab.postgres import Postgres
from pointsman.lab.process import LOCALHOST, LabError, Server, Spec, free_port

NAME = "pgbouncer"
Mode = Literal["session", "transaction", "statement"]


class PgBouncer(Server):
    """A pooler; `url` is by which way to the same database.

    Few connections, so that transactions take turns; a session keeps its own, so each must find one.
    """

    def __init__(self, folder: Path, server: Postgres, mode: Mode, database: str) -> None:
        program, port = binary(), free_port()
        size = 10 if mode == "session" else 3
        self.url = f"postgresql://pointsman@{LOCALHOST}:{port}/{database.rpartition('/')[2]}"
        self._own = Path(tempfile.mkdtemp(prefix="pointsman-pgbouncer-"))
        self._own.chmod(0o755)  # whoever runs it may not look into our folders
        users, config = self._own / "users.txt", self._own / "pgbouncer.ini"
        users.write_text('"pointsman" ""\n')
        config.write_text(
            f"[databases]\n* = host={LOCALHOST} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = {LOCALHOST}\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\n"
            f"pool_mode = {mode}\ndefault_pool_size = {size}\nserver_round_robin = 1\n"
        )
        command = [program, str(config)]
        if os.geteuid() == 0:  # it does not run as root
            nobody = pwd.getpwnam("nobody")
            who = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
            command = ["setpriv", "--pdeathsig=SIGTERM", *who, *command]
        super().__init__(
            Spec(NAME, command, folder / "pgbouncer.log", f"{LOCALHOST}:{port}", lambda: _listens(port))
        )

    def __exit__(self, *exception: object) -> None:
        """End it, and remove what it kept outside of our folder."""
        super().__exit__(*exception)
        shutil.rmtree(self._own, ignore_errors=True)


def binary() -> str:
    """Return the path of PgBouncer, installed where that is allowed; skip, and say so, where it is not."""
    try:
        packages.ensure({NAME: NAME}, "the test of a pooler", print)
    except LabError as error:
        pytest.skip(f"no PgBouncer, a store behind a pooler is NOT tested: {error}")
    return str(shutil.which(NAME))


def _listens(port: int) -> bool:
    with socket.socket() as end:
        end.settimeout(1)
        return end.connect_ex((LOCALHOST, port)) == 0
