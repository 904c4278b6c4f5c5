"""Texts that wait for their request's log entry, so that scoring need not read what was just written."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.answer import text_of
from pointsman.evaluator.rubrics.types import Case
from pointsman.triton.backend.request import Prompt, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.evaluator.rows import CaptureRow

MOST_BYTES: Final = 64 << 20
MOST_S: Final = 60.0
_ROW: Final = 500
"""Bytes of a row beside its text, about."""


@dataclass(slots=True)
class Text:
    """What is known of a request's text."""

    request: CaptureRow | None = None
    response: CaptureRow | None = None

    @property
    def whole(self) -> bool:
        """Whether both halves are there."""
        return self.request is not None and self.response is not None

    def add(self, row: CaptureRow) -> None:
        """Take a half in."""
        if row.half == "request":
            self.request = row
        else:
            self.response = row

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(_ROW + len(half.kept.text) for half in (self.request, self.response) if half)


class Texts:
    """Texts by (policy, request id), bounded in bytes and in age. What has gone is in the store still."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._held: OrderedDict[tuple[str, str], tuple[float, Text]] = OrderedDict()
        self._bytes = 0

    def put(self, row: CaptureRow) -> Text:
        """Take a half in; return what is known of its request now."""
        key = row.policy, row.request_id
        _, text = self._held.setdefault(key, (self._now(), Text()))
        before = text.size
        text.add(row)
        self._bytes += text.size - before
        self._trim()
        return text

    def get(self, policy: str, request_id: str) -> Text | None:
        """Return what is held of a request."""
        held = self._held.get((policy, request_id))
        return held[1] if held else None

    def drop(self, policy: str, request_id: str) -> None:
        """Let go of a request that is scored."""
        held = self._held.pop((policy, request_id), None)
        if held:
            self._bytes -= held[1].size

    def _trim(self) -> None:
        oldest = self._now() - MOST_S
        while self._held:
            at, text = next(iter(self._held.values()))
            if at >= oldest and self._bytes <= MOST_BYTES:
                return
            self._held.popitem(last=False)
            self._bytes -= text.size


def case_of(text: Text, intent: str) -> Case | None:
    """Return what rubrics are asked: what is stored, and no more; None without an answer. Pure."""
    request, response = text.request, text.response
    if response is None:
        return None
    answer, messages = text_of(response.kept)
    body = request.kept.text.encode() if request is not None and request.kept.form == "json" else None
    prompt = parse(body) if body is not None else None
    return Case(
        body=body,
        turn_sha256=request.turn_sha256 if request is not None else "",
        question=prompt.text if isinstance(prompt, Prompt) else "",
        answer=answer,
        messages=messages,
        intent=intent,
        truncated=response.kept.truncated,
    )
