"""Databases on a PostgreSQL that runs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Self

import psycopg

from pointsman.lab.process import LOCALHOST

if TYPE_CHECKING:
    from pointsman.lab.postgres import Postgres

_numbers = itertools.count(1)


def fresh_database(server: Postgres) -> str:
    """Make an empty database; return its URL."""
    name = f"test_{next(_numbers)}"
    ask(server.url, f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


def ask(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a statement, with `%s` for each parameter; return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement, parameters or None)
        return list(done.fetchall()) if done.description else []


class Partition:
    """A way to a server that can be made to swallow everything: connections stay, nothing comes through."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rpartition(":")[2].partition("/")[0])
        self._url = url
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.silence_commits = 0
        """So many commits to come are done, and their connection ends before anybody says so."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOCALHOST, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._url.replace(f":{self._target}/", f":{port}/")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything through again, also what was held."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            back, forth = await asyncio.open_connection(LOCALHOST, self._target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, forth, writer))
                    group.create_task(self._pass(back, writer))
            finally:
                forth.close()
                writer.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter | None = None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                if client is not None and self.silence_commits and b"COMMIT" in data:
                    self.silence_commits -= 1
                    client.transport.abort()
                writer.write(data)
                await writer.drain()
            writer.close()
