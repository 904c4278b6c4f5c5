"""The supervisor on small real servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pointsman.lab.process import LOCALHOST, LabError, Server, Spec, free_port, listens
from pointsman.lab.supervisor import Part, Supervisor
from wait import until


def _web(folder: Path, name: str) -> Server:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        LOCALHOST,
        "--directory",
        str(folder),
    ]
    return Server(Spec(name, command, folder / f"{name}.log", f"{LOCALHOST}:{port}", lambda: listens(port)))


def _listens(server: Server) -> bool:
    return listens(int(server.spec.address.rpartition(":")[2]))


@contextlib.asynccontextmanager
async def _running(parts: list[Part], said: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(parts, said.append)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop, 20))
    try:
        await until(lambda: task.done() or supervisor.up.is_set(), 20)
        yield supervisor
    finally:
        stop.set()
        await task


async def test_parts_start_after_what_they_need(tmp_path: Path) -> None:
    """The second part starts when the first one's `then` is done."""
    first, second = _web(tmp_path, "first"), _web(tmp_path, "second")
    seen: list[bool] = []
    then: Callable[[], None] = lambda: seen.append(_listens(first) and not _listens(second))  # noqa: E731 - a probe
    async with _running([Part(second, after=("first",)), Part(first, then=then)], []):
        assert seen == [True]
        assert _listens(second)
    assert not _listens(first)
    assert not _listens(second)


async def test_a_killed_part_is_restarted_at_once_at_its_address_and_named(tmp_path: Path) -> None:
    """Its status counts the restart, and what was said holds its name, the signal and its log."""
    server, said = _web(tmp_path, "victim"), list[str]()
    async with _running([Part(server)], said) as supervisor:
        before = supervisor.status()["victim"]
        os.kill(before["pid"], signal.SIGKILL)
        await until(lambda: supervisor.status()["victim"]["restarts"] == 1, 2)
        await until(lambda: supervisor.status()["victim"]["healthy"], 5)
        after = supervisor.status()["victim"]
    assert after["pid"] != before["pid"]
    assert after["address"] == before["address"]
    assert any(line.startswith("victim: was ended by SIGKILL") and "victim.log" in line for line in said)


async def test_a_part_restarts_when_asked(tmp_path: Path) -> None:
    """Without any wait, and it is counted."""
    async with _running([Part(_web(tmp_path, "web"))], []) as supervisor:
        pid = supervisor.status()["web"]["pid"]
        supervisor.keepers["web"].restart()
        await until(lambda: supervisor.status()["web"]["restarts"] == 1, 5)
        await until(lambda: supervisor.status()["web"]["healthy"], 5)
        assert supervisor.status()["web"]["pid"] != pid


async def test_a_part_that_never_comes_up_fails_the_lab_and_leaves_nothing(tmp_path: Path) -> None:
    """The error names it, with its last words; the other parts are ended."""
    bad = Server(Spec("bad", ["bash", "-c", "echo broken; exit 3"], tmp_path / "bad.log", "", lambda: False))
    good = _web(tmp_path, "good")
    with pytest.raises(LabError, match=r"bad ended with exit code 3 3 times(.|\n)*broken"):
        await Supervisor([Part(good), Part(bad)], lambda _: None).run(asyncio.Event(), 20)
    assert not _listens(good)


async def test_a_lab_that_is_late_names_what_it_waited_for(tmp_path: Path) -> None:
    """The part that holds up the others is blamed, not they."""
    slow = Server(Spec("slow", ["sleep", "60"], tmp_path / "slow.log", "", lambda: False))
    with pytest.raises(LabError, match=r"not up after 1 s; still waited for:\nslow") as failure:
        await Supervisor([Part(slow), Part(_web(tmp_path, "rest"), after=("slow",))], lambda _: None).run(
            asyncio.Event(), 1
        )
    assert "rest" not in str(failure.value)
