"""A gate's case as a request, and the references that it brings along. Pure."""

from __future__ import annotations

import json
from collections import ChainMap
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.datasets import Loaded
from pointsman.evaluator.sources import SourceError

if TYPE_CHECKING:
    from pointsman.evaluator.sources import Files
    from pointsman.gate.cases import GateCase
    from pointsman.rollout.observation import Source

PATH: Final = "/v1/chat/completions"


def body_of(case: GateCase, model: str) -> bytes:
    """Return the chat request that asks a case; `model` as clients ask for it, the tier puts in its own."""
    return json.dumps(
        {"model": model, "messages": list(case.messages)}, ensure_ascii=False, separators=(",", ":")
    ).encode(errors="replace")


class WithGate:
    """Data sets as rubrics read them, the gate's own references first: its cases are new to the others."""

    def __init__(self, files: Files[Loaded], gate: Loaded) -> None:
        self._files = files
        self._gate = gate
        self._merged: dict[Source, tuple[Loaded, Loaded]] = {}

    async def get(self, source: Source) -> Loaded:
        """Return a data set with the gate's references; the gate's alone where it cannot be had."""
        try:
            loaded = await self._files.get(source)
        except SourceError:
            return self._gate
        known = self._merged.get(source)
        if known is None or known[0] is not loaded:
            references = ChainMap(dict(self._gate.references), dict(loaded.references))
            known = self._merged[source] = (loaded, Loaded(loaded.cases, references))
        return known[1]
