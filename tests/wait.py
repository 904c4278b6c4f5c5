"""Waiting for a condition with a deadline: the only way a test waits."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


class NotInTimeError(AssertionError):
    """The condition did not become true within its deadline."""


@overload
async def until(
    condition: Callable[[], Awaitable[T]], deadline_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...
@overload
async def until(
    condition: Callable[[], T | None], deadline_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...
async def until(
    condition: Callable[[], T | Awaitable[T | None] | None],
    deadline_s: float = 10.0,
    every_s: float = 0.02,
    what: str = "",
) -> T:
    """Return the first truthy value of `condition`; raise `NotInTimeError` after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        result = await value if inspect.isawaitable(value) else value
        if result:
            return result
        if time.monotonic() > end:
            raise NotInTimeError(_late(what or repr(condition), deadline_s, result))
        await asyncio.sleep(every_s)


def until_sync(
    condition: Callable[[], T | None], deadline_s: float = 10.0, every_s: float = 0.02, what: str = ""
) -> T:
    """Like `until`, for tests without an event loop."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise NotInTimeError(_late(what or repr(condition), deadline_s, result))
        time.sleep(every_s)


def _late(what: str, deadline_s: float, last: object) -> str:
    return f"{what} not true within {deadline_s} s; last value: {last!r}"
