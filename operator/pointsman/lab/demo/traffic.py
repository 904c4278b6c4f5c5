"""Clients: a steady stream of prompts drawn at random, in a thread of its own, for as long as it takes."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from pointsman.lab.demo.tally import Tally
from pointsman.lab.load import Load, Prompt, Target, drawn


class Traffic:
    """Sends within its `with`."""

    def __init__(
        self, target: Target, prompts: list[Prompt], tally: Tally, *, rate: float, seed: int
    ) -> None:
        self._load = Load(target, rate, name=f"s{seed}", on_outcome=tally.add, keep=False)
        self._prompts = drawn(prompts, seed=seed)
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._load.run(self._prompts))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._load.stop()
        # After a failure or Ctrl-C nobody waits for answers that are under way.
        self._thread.join(timeout=self._load.target.timeout_s if kind is None else 0)
