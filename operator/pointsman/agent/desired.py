"""Which models the pool's Tritons shall hold: the newer of the mounted list and the operator's answer."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from pointsman.agent.operator_door import WAIT_S, OperatorAwayError
from pointsman.backoff import Backoff
from pointsman.pools import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pointsman.agent.operator_door import OperatorDoor
    from pointsman.pools.models import ModelList

log = logging.getLogger(__name__)

FILE_S: Final = 1.0
"""Between looks at the file; the kubelet renews it within a minute or two."""
BACKOFF: Final = Backoff(base_s=0.5, cap_s=10.0, jitter=0.5)


class Desired:
    """Follows both; `run` until cancelled. `changed` is called with every list that takes effect.

    The operator's word counts as it comes: after a restore of the cluster from a backup its list may be an
    older one. The file may lag a minute behind, so it counts only where it changed, and only if it is newer.
    """

    def __init__(
        self,
        file: Path,
        pool: str,
        door: OperatorDoor | None,
        changed: Callable[[ModelList], None],
        *,
        wait_s: int = WAIT_S,
        rng: random.Random | None = None,
    ) -> None:
        """`door` None: the file alone."""
        self._file = file
        self._pool = pool
        self._door = door
        self._changed = changed
        self._wait_s = wait_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._text: str | None = None
        self._failure = ""
        self.current: ModelList | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_file(), name="list in the file")
            if self._door is not None:
                group.create_task(self._follow_operator(self._door), name="list of the operator")

    async def _follow_file(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(FILE_S)

    def look(self) -> None:
        """Read the file, once; one that is not there, or is being replaced, changes nothing."""
        try:
            text = self._file.read_text("utf-8")
            if text == self._text:
                return
            found = models.parse(text)
        except (OSError, ValueError) as error:
            self._tell(f"{self._file}: {error}")
            return
        self._text = text
        if self.current is None or found.revision > self.current.revision:
            self._take(found, "file")

    async def _follow_operator(self, door: OperatorDoor) -> None:
        errors = 0
        while True:
            try:
                since = self.current.version if self.current is not None else ""
                found = await door.models(self._pool, since, self._wait_s)
            except OperatorAwayError as error:
                errors += 1
                self._tell(str(error))
                await asyncio.sleep(BACKOFF.delay(errors, self._rng))
                continue
            errors, self._failure = 0, ""
            if found is not None and found != self.current:
                self._take(found, "operator")
            elif found is not None:
                await asyncio.sleep(BACKOFF.base_s)  # it should have waited: ask no faster than this

    def _take(self, found: ModelList, whence: str) -> None:
        self.current = found
        words = {"revision": found.revision, "models": len(found.models), "from": whence}
        log.info("a new list of models", extra=words)
        self._changed(found)

    def _tell(self, failure: str) -> None:
        """Log a failure once, not at every attempt."""
        if failure != self._failure:
            log.info("going on with the last list of models: %s", failure)
            self._failure = failure
