"""An answer that was fetched off the path, scored as a captured one: same cut, redaction and rubrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from pointsman.evaluator.capture import Posted, prepare
from pointsman.evaluator.prices import DEFAULT_MAX_BYTES, CaptureRule
from pointsman.evaluator.rubrics.types import Scored
from pointsman.evaluator.shadow.pairs import ANSWERED
from pointsman.evaluator.texts import Text, case_of
from pointsman.evaluator.turns import turn_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.evaluator.answer import Half
    from pointsman.evaluator.rows import CaptureRow
    from pointsman.evaluator.rubrics.types import Scorer
    from pointsman.evaluator.shadow.pairs import Outcomes
    from pointsman.evaluator.shadow.reply import Reply

P = ParamSpec("P")
T = TypeVar("T")

PLAIN: Final = CaptureRule(max_bytes=DEFAULT_MAX_BYTES, redact=(), retention_s=0)
"""Where a policy captures nothing: the text of a data set's cases is the user's own."""
_OFF_LOOP: Final = 32_768
"""Bytes from which text is prepared in a thread."""


async def asked(body: bytes, rule: CaptureRule) -> CaptureRow:
    """Return a request as rubrics see it: never stored, but cut and redacted as if it were."""
    row = await _prepared(len(body), prepare, _posted("request", body, "application/json"), rule)
    return replace(row, turn_sha256=turn_sha256(body))


async def grade(
    reply: Reply, request: CaptureRow, intent: str, scorers: Sequence[Scorer], rule: CaptureRule
) -> Outcomes:
    """Return what the answer came to: `answered`, and each rubric that could score it."""
    outcomes: Outcomes = {ANSWERED: reply.answered}
    if not reply.text_expected or not scorers:
        return outcomes
    posted = _posted("response", reply.body, reply.content_type, status=reply.status, truncated=reply.cut)
    row = await _prepared(len(reply.body), prepare, posted, rule)
    case = case_of(Text(request, row), intent)
    if case is None:
        return outcomes
    verdicts = await asyncio.gather(*(scorer.score(case) for scorer in scorers))
    for scorer, verdict in zip(scorers, verdicts, strict=True):
        if isinstance(verdict, Scored):
            outcomes[scorer.name, scorer.version] = verdict.passed
    return outcomes


def _posted(half: Half, body: bytes, kind: str, *, status: int = 0, truncated: bool = False) -> Posted:
    return Posted(
        half=half,
        policy="",
        request_id="",
        revision="",
        tier="",
        status=status,
        content_type=kind,
        truncated=truncated,
        at_us=0,
        body=body,
    )


async def _prepared(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.to_thread(work, *args, **kwargs) if size > _OFF_LOOP else work(*args, **kwargs)
