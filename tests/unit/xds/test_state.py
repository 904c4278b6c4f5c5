"""The state board: who waits is told of changes, and of nothing else."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.xds.state import StateBoard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def board(state: dict[str, Any]) -> AsyncIterator[StateBoard]:
    """Run a board that reads `state`."""
    made = StateBoard(lambda: dict(state), 100)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


async def test_who_has_another_version_is_answered_at_once() -> None:
    """Also one from a server that ran before."""
    async with board({"a": 1}) as made:
        for since in (None, 99, 101):
            assert await made.after(since, 60) == {"version": 100, "a": 1}


async def test_a_change_wakes_who_waits() -> None:
    """The new state comes with the next number."""
    state = {"a": 1}
    async with board(state) as made:
        waiting = asyncio.create_task(made.after(100, 60))
        await asyncio.sleep(0)
        state["a"] = 2
        made.touch()
        assert await asyncio.wait_for(waiting, 5) == {"version": 101, "a": 2}


async def test_a_touch_without_a_change_wakes_nobody() -> None:
    """The same state keeps its number."""
    async with board({"a": 1}) as made:
        waiting = asyncio.create_task(made.after(100, 60))
        made.touch()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.2)


async def test_the_wait_ends() -> None:
    """Without a change the same version is told after the wait."""
    async with board({"a": 1}) as made:
        assert await made.after(100, 0.05) == {"version": 100, "a": 1}
