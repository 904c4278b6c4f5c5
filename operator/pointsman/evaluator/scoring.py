"""Follows each request of a policy from its row to its scores: once, whatever dies in between.

A request is pending in the store until one transaction writes its scores, counts them and marks it. What is
pending when we start is taken up again. Nothing here is lost but text that never came.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.answer import text_of
from pointsman.evaluator.cases import ScoredRequest
from pointsman.evaluator.evidence import NOT_APPLICABLE, Result, ScoreRow, half_of
from pointsman.evaluator.guards import answerless
from pointsman.evaluator.membership import Solo
from pointsman.evaluator.metrics import ScoringMetrics
from pointsman.evaluator.rubrics.types import Scored
from pointsman.evaluator.store import StoreError
from pointsman.evaluator.texts import Text, Texts, case_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from pointsman.evaluator.bodies import Bodies
    from pointsman.evaluator.intents import Intents
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.record import AccessRecord
    from pointsman.evaluator.rows import CaptureRow, Written
    from pointsman.evaluator.rubrics.types import Scorer
    from pointsman.evaluator.writer import Writer

log = logging.getLogger(__name__)

TEXT_WAIT_S: Final = 10.0
"""How long a request's text may come after its log entry; then it is given up."""
TICK_S: Final = 0.5
AT_ONCE: Final = 256
"""Requests that are scored at a time: most of it is waiting for judges."""
MOST_WAITING: Final = 20_000
"""Requests that wait for a turn; beyond it the oldest are given up, or a slow judge would hold everything."""
DEADLINE_S: Final = 60.0
"""Of all rubrics of one request together; what has not said anything by then did not say anything."""
AGAIN_S: Final = 1.0
LOOKUPS: Final = 500
LOOK_S: Final = 0.5
"""How often text is looked up that another replica may have received."""


@dataclass(slots=True)
class _Open:
    """A request that is not scored yet."""

    row: int
    record: AccessRecord
    text: Text
    look_at: float
    """When its text is looked up in the store (monotonic)."""
    give_up_at: float
    since: float = field(default_factory=time.monotonic)
    dropped: bool = False
    """It did not come to its turn in time."""
    handed: bool = False
    """Another replica left it to us."""


class Scoring:
    """What is pending, and the tasks that score it. All on the loop's thread."""

    def __init__(
        self,
        writer: Writer,
        policies: Policies,
        scorers: Callable[[str], Sequence[Scorer]],
        intents: Intents,
        *,
        bodies: Bodies,
        registry: CollectorRegistry,
        member: Membership | None = None,
    ) -> None:
        """`scorers`: of a policy's rubrics as they are now."""
        self._member = member or Solo()
        self._given: dict[int, AccessRecord] = {}
        """Handed to other replicas, and not scored yet."""
        self._writer = writer
        self._policies = policies
        self._scorers = scorers
        self._intents = intents
        self._bodies = bodies
        self._metrics = ScoringMetrics(registry)
        self._open: dict[int, _Open] = {}
        self._by_request: dict[tuple[str, str], list[_Open]] = defaultdict(list)
        """Those that wait for text."""
        self._ready: deque[_Open] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._texts = Texts()
        self._resumed = False
        self.on_scored: list[Callable[[ScoredRequest], None]] = []
        """Told of every request of a rollout whose scores are stored. Must not wait."""
        writer.on_stored = self._stored
        writer.on_lost = self._lost

    async def run(self) -> None:
        """Take up what was pending, then see to what waits too long, until cancelled."""
        await self._policies.synced.wait()
        await self._resume()
        try:
            while True:
                try:
                    await self._tick()
                except StoreError as error:
                    log.warning("cannot look text up in the store: %s", error)
                await asyncio.sleep(TICK_S)
        finally:
            for task in self._tasks:
                task.cancel()

    def scored_until_us(self, now_us: int) -> dict[str, int]:
        """Return, by policy, up to when all requests that were received are scored or given up.

        A policy that nothing is pending of is not in it: for it, that is now. Empty before the first look.
        """
        until: dict[str, int] = {}
        open_ = (entry.record for entry in self._open.values())
        for record in (*open_, *self._given.values(), *self._writer.received()):
            if record.policy:
                until[record.policy] = min(until.get(record.policy, now_us), record.end_us)
        return until

    @property
    def resumed(self) -> bool:
        """Whether everything that is pending is known: before, nobody can say how far scoring is."""
        return self._resumed

    # -- what comes in ---------------------------------------------------------------------------------------

    def _stored(self, written: Written) -> None:
        for score in written.scored:
            self._done(score)
        for row in written.void:
            self._close(row)
        for capture in written.texts:
            self._text(capture)
        for row, record in written.pending:
            self._enter(row, record)
        self._metrics.pending.set(len(self._open))
        self._pump()

    def _enter(self, row: int, record: AccessRecord, *, handed: bool = False) -> None:
        if row in self._open:
            return
        key = record.policy, record.request_id
        now = time.monotonic()
        # The request of a long answer came long ago, and may be let go of here.
        look_at = now + (TEXT_WAIT_S if record.duration_us < TEXT_WAIT_S * 1_000_000 else 0)
        if self._member.shared:
            look_at = now if handed else min(look_at, now + LOOK_S)
        text = self._texts.get(*key) or Text()
        entry = _Open(row, record, text, look_at, now + TEXT_WAIT_S, handed=handed)
        self._open[row] = entry
        if self._complete(entry):
            self._ready.append(entry)
        else:
            self._by_request[key].append(entry)

    def _text(self, row: CaptureRow) -> None:
        text = self._texts.put(row)
        key = row.policy, row.request_id
        left: list[_Open] = []
        for entry in self._by_request.pop(key, ()):
            if entry.text is not text:
                entry.text.add(row)
            (self._ready if self._complete(entry) else left).append(entry)
        if left:
            self._by_request[key] = left

    def _complete(self, entry: _Open) -> bool:
        """Whether there is nothing to wait for."""
        if not entry.record.captured or entry.text.whole:
            return True
        # An error has no text worth waiting for, but its request says which intent it counts for.
        return answerless(entry.record) and entry.text.request is not None

    async def _resume(self) -> None:
        """Take up what an earlier process left: its text is in the store, or on its way to us."""
        while True:
            try:
                pending = await self._writer.call(lambda store: store.pending())
                break
            except StoreError as error:
                log.warning("cannot read what is not scored yet: %s", error)
                await asyncio.sleep(AGAIN_S)
        for row, record in pending:
            self._enter(row, record)
        for entries in self._by_request.values():
            for entry in entries:
                entry.look_at = 0.0
        self._resumed = True
        if self._open:
            log.info("taking up unscored requests", extra={"requests": len(self._open)})

    async def _tick(self) -> None:
        """Look late texts up in the store, and give up what lacks them still."""
        if self._member.shared:
            await self._exchange()
        now = time.monotonic()
        late = [entry for entries in self._by_request.values() for entry in entries if entry.look_at <= now]
        for start in range(0, len(late), LOOKUPS):
            await self._look_up(late[start : start + LOOKUPS])
        while len(self._ready) > MOST_WAITING:
            entry = self._ready.popleft()
            entry.dropped = True
            self._start(entry)
        self._pump()

    async def _exchange(self) -> None:
        """Take what other replicas have left to us, and see what became of what we left to them."""
        for row, record in await self._writer.call(lambda store: store.handed()):
            self._enter(row, record, handed=True)
        if self._given:
            rows = tuple(self._given)
            unscored = await self._writer.call(lambda store: store.unscored(rows))
            for row in rows:
                if row not in unscored:
                    self._given.pop(row, None)

    async def _look_up(self, entries: list[_Open]) -> None:
        keys = {(entry.record.policy, entry.record.request_id) for entry in entries}
        found = await self._writer.call(lambda store: store.texts(keys))
        if self._member.shared:
            await self._hand_over(entries, found)
        for row in found:
            self._text(row)
        now = time.monotonic()
        for entry in entries:
            key = entry.record.policy, entry.record.request_id
            waiting = self._by_request.get(key, [])
            if entry not in waiting:
                continue  # it has all that it waited for
            entry.look_at = min(entry.give_up_at, now + LOOK_S) if self._member.shared else entry.give_up_at
            if entry.give_up_at <= now:
                waiting.remove(entry)
                self._ready.append(entry)
            if not waiting:
                del self._by_request[key]

    async def _hand_over(self, entries: list[_Open], found: Sequence[CaptureRow]) -> None:
        """Leave requests of rollouts to who holds them as they came: shadow and intent need that."""
        live = self._member.live - {self._member.name}
        holders = {
            (row.policy, row.request_id): row.replica
            for row in found
            if row.half == "request" and row.replica in live
        }
        wanted = {
            entry.row: (entry, holder)
            for entry in entries
            if entry.record.rollout
            and not entry.handed
            and (holder := holders.get((entry.record.policy, entry.record.request_id)))
        }
        if not wanted:
            return
        # Before anybody can have scored it: until it is seen scored, it holds our watermark.
        self._given |= {row: entry.record for row, (entry, _) in wanted.items()}
        rows = [(row, holder) for row, (_, holder) in wanted.items()]
        given = await self._writer.call(lambda store: store.hand_over(rows))
        for row in given:
            entry = wanted[row][0]
            key = entry.record.policy, entry.record.request_id
            waiting = self._by_request.get(key, [])
            if entry in waiting:
                waiting.remove(entry)
            if not waiting:
                self._by_request.pop(key, None)
            self._close(row)

    # -- scoring ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while self._ready and len(self._tasks) < AT_ONCE:
            self._start(self._ready.popleft())

    def _start(self, entry: _Open) -> None:
        task = asyncio.create_task(self._score(entry))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    async def _score(self, entry: _Open) -> None:
        record = entry.record
        facts = self._policies.policy(record.policy)
        measured = facts is not None and record.revision == facts.measured
        half = (
            half_of(facts.uid, record.revision, record.session, record.request_id)
            if facts is not None and measured
            else ""
        )
        scorers = self._scorers(record.policy) if half or record.rollout else ()
        try:
            intent = await self._intents.label(record, lambda: self._body(entry))
            results = tuple([await self._result(scorer, entry, intent) for scorer in scorers])
        except Exception:
            log.exception("a request could not be scored", extra={"policy": record.policy})
            self._metrics.errors.inc()
            intent = record.intent
            results = tuple(Result(s.name, s.version, None, "error") for s in scorers)
        self._writer.offer(ScoreRow(entry.row, record, intent, half, results))

    async def _result(self, scorer: Scorer, entry: _Open, intent: str) -> Result:
        if scorer.intents and intent not in scorer.intents:
            return Result(scorer.name, scorer.version, None, NOT_APPLICABLE)
        because = _unscorable(entry)
        case = case_of(entry.text, intent) if not because else None
        if case is None:
            return Result(scorer.name, scorer.version, None, because or "dropped")
        try:
            async with asyncio.timeout(DEADLINE_S):
                verdict = await scorer.score(case)
        except TimeoutError:
            return Result(scorer.name, scorer.version, None, "error")
        if isinstance(verdict, Scored):
            return Result(scorer.name, scorer.version, verdict.passed)
        return Result(scorer.name, scorer.version, None, verdict.because)

    def _body(self, entry: _Open) -> bytes | None:
        """Return the request as it came; after a restart only as it is stored, struck out and all."""
        held = self._bodies.get(entry.record.policy, entry.record.request_id)
        if held is not None:
            return held
        request = entry.text.request
        if request is None or request.kept.form != "json" or request.kept.truncated:
            return None
        return request.kept.text.encode()

    def _lost(self, score: ScoreRow) -> None:
        """Try again: the request is pending as long as it takes."""
        asyncio.get_running_loop().call_later(AGAIN_S, self._writer.offer, score)

    def _done(self, score: ScoreRow) -> None:
        entry = self._open.get(score.row)
        if entry is not None:
            self._metrics.seconds.observe(time.monotonic() - entry.since)
            if score.record.rollout:
                scored = self._scored_request(score, entry)
                for tell in self.on_scored:
                    try:
                        tell(scored)
                    except Exception:  # whoever listens must not stop what counts
                        log.exception("a scored request could not be passed on")
        self._close(score.row)

    def _close(self, row: int) -> None:
        entry = self._open.pop(row, None)
        if entry is not None:
            self._texts.drop(entry.record.policy, entry.record.request_id)

    def _scored_request(self, score: ScoreRow, entry: _Open) -> ScoredRequest:
        record = score.record
        response = entry.text.response
        answer, messages = text_of(response.kept) if response is not None else ("", [])
        verdicts = score.verdicts
        return ScoredRequest(
            record=record,
            body=self._bodies.get(record.policy, record.request_id),
            answer=answer,
            messages=messages,
            status=record.status,
            intent=score.intent,
            outcomes={result.rubric: bool(result.passed) for result in verdicts},
            versions={result.rubric: result.version for result in verdicts},
        )


def _unscorable(entry: _Open) -> str:
    """Return why there is no text to score; "": there is one."""
    if answerless(entry.record):
        return "no_answer"
    if not entry.record.captured:
        return "not_captured"
    return "dropped" if entry.dropped or not entry.text.whole else ""
