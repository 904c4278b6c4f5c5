"""Takes the incumbent's scored requests, asks what the candidate would have answered, writes pairs."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from pointsman.contract import Reason
from pointsman.evaluator.cases import ShadowNote
from pointsman.evaluator.classify import ClassifierError, NonsenseError
from pointsman.evaluator.decision import UNREAD, asks, decide, same_answer
from pointsman.evaluator.rollouts import tier_of, triton_urls
from pointsman.evaluator.shadow.grading import PLAIN, asked, grade
from pointsman.evaluator.shadow.pairs import ANSWERED, CaseName, incumbent_outcomes, pairs
from pointsman.evaluator.shadow.replay import Question, UnavailableError
from pointsman.evaluator.shadow.request import SkipError, is_sampled, path_of
from pointsman.evaluator.shadow.spending import cost_nano, estimate_nano

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.evaluator.cases import CaseItem, ScoredRequest, ShadowOutcome
    from pointsman.evaluator.classify import Classifiers
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.rollouts import LiveRollout, Rollouts
    from pointsman.evaluator.rubrics.types import Scorer
    from pointsman.evaluator.shadow.pairs import Outcomes
    from pointsman.evaluator.shadow.replay import Replayer
    from pointsman.evaluator.shadow.spending import Spending
    from pointsman.plan.types import TierPlan

log = logging.getLogger(__name__)

STAGE: Final = "shadow"
QUEUE: Final = 2000
QUEUE_BYTES: Final = 64 << 20
CONCURRENCY: Final = 128
"""Replays at a time, of all policies: most of it is waiting for models."""
WAIT_S: Final = 1.0
"""Before another look whether the store takes what comes of it."""
BLOCKED_S: Final = 30.0
"""How long after a replay that could not be made no agreement is counted."""
ABOUT_THE_BODY: Final = UNREAD | {Reason.BODY_TOO_LARGE}


class ShadowMetrics:
    """How the shadow fares, as far as it is no evidence."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.skipped = Counter(
            "pointsman_shadow_skipped_total",
            "Requests that the candidate was not asked about; because is effects (something on a server "
            "would change), body (not held any more, cut or unreadable), queue (too many wait) or ended.",
            ["because"],
            registry=registry,
        )
        self.queue = Gauge(
            "pointsman_shadow_queue_items", "Requests that wait for a replay.", registry=registry
        )


class Shadow:
    """The shadow of all live rollouts. `offer` never waits; what waits longest is dropped first."""

    def __init__(
        self,
        *,
        policies: Policies,
        rollouts: Rollouts,
        classifiers: Classifiers,
        replayer: Replayer,
        scorers: Callable[[str], Sequence[Scorer]],
        take: Callable[[CaseItem], object],
        behind_s: Callable[[], float],
        spending: Spending,
        registry: CollectorRegistry,
    ) -> None:
        """Take `scorers` of a policy's rubrics as they are now, and `take`, the writer's queue.

        `behind_s` is the age of the oldest item in it, infinite while the store takes nothing.
        """
        self._policies = policies
        self._rollouts = rollouts
        self._classifiers = classifiers
        self._replayer = replayer
        self._scorers = scorers
        self._take = take
        self._behind_s = behind_s
        self._spending = spending
        self._metrics = ShadowMetrics(registry)
        self._queue: asyncio.Queue[ScoredRequest] = asyncio.Queue()
        self._bytes = 0
        self._blocked: dict[str, float] = {}

    def offer(self, scored: ScoredRequest) -> None:
        """Take a request whose scores are stored, if the candidate is to be asked about it."""
        record = scored.record
        rollout = self._rollouts.get(record.policy)
        if (
            rollout is None
            or not self._replayer.reaches(rollout.gateway)
            or record.rollout != rollout.id
            or record.arm != "incumbent"
            or rollout.step != "Shadow"
            or record.step not in rollout.shadow_steps
            or not is_sampled(record.request_id, rollout.id, rollout.settings.shadow_sample_permille)
        ):
            return
        if not scored.body:
            self._skip(scored, "body")
            return
        self._queue.put_nowait(scored)
        self._bytes += len(scored.body)
        while self._queue.qsize() > QUEUE or self._bytes > QUEUE_BYTES:
            self._skip(self._next(self._queue.get_nowait()), "queue")
        self._metrics.queue.set(self._queue.qsize())

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            scored = self._next(await self._queue.get())
            while math.isinf(self._behind_s()):  # noqa: ASYNC110 - an answer would be paid for and lost
                await asyncio.sleep(WAIT_S)
            rollout = self._rollouts.get(scored.record.policy)
            if rollout is None or rollout.id != scored.record.rollout:
                self._metrics.skipped.labels("ended").inc()
                continue
            try:
                outcome, cost = await self._shadow(rollout, scored)
            except SkipError as skip:
                self._skip(scored, skip.because)
                continue
            except Exception:  # one request must not stop the others; nothing of it may be logged
                log.exception("a shadow replay failed", extra={"policy": rollout.policy})
                outcome, cost = "failed", 0
            self._note(scored, outcome, cost)

    def _next(self, scored: ScoredRequest) -> ScoredRequest:
        self._bytes -= len(scored.body or b"")
        self._metrics.queue.set(self._queue.qsize())
        return scored

    async def _shadow(self, rollout: LiveRollout, scored: ScoredRequest) -> tuple[ShadowOutcome, int]:
        """Return what became of a request, and the nano-dollars that were spent on it."""
        body, record = scored.body or b"", scored.record
        path = path_of(body)
        # Before it is known whether a replay is needed, see `Spending.admits`.
        if not self._spending.admits(rollout, self._least_nano(rollout, scored)):
            return "over_budget", 0
        try:
            tier = await self._decision(rollout, scored)
        except ClassifierError:
            return "failed", 0
        chosen, served = (
            tier_of(rollout.incumbent, name) for name in (record.tier, record.served_tier or record.tier)
        )
        if chosen is not None and same_answer(tier, chosen):
            return self._agreed(rollout, scored, incumbent_outcomes(scored)), 0
        if served is not None and same_answer(tier, served):
            # The incumbent's first choice failed; the candidate would have asked at once who answered then.
            return self._agreed(rollout, scored, incumbent_outcomes(scored) | {ANSWERED: True}), 0
        return await self._replayed(rollout, scored, tier, path)

    async def _decision(self, rollout: LiveRollout, scored: ScoredRequest) -> TierPlan:
        """Return the tier that the candidate would have chosen; raise `ClassifierError`."""
        arm = rollout.candidate
        found = scored.record.reason if scored.record.reason in ABOUT_THE_BODY else ""
        classifier = asks(arm, found)
        answer = None
        if classifier is not None:
            try:
                answer = await self._classifiers.ask(
                    triton_urls(classifier), classifier.model, scored.body or b""
                )
            except NonsenseError:
                answer = None  # the last tier would serve
        name = decide(arm, answer, found).tier
        return tier_of(arm, name) or arm.tiers[-1]

    def _agreed(self, rollout: LiveRollout, scored: ScoredRequest, candidate: Outcomes) -> ShadowOutcome:
        """Count the incumbent's outcomes on both sides; not while those that differ cannot be replayed."""
        if time.monotonic() < self._blocked.get(rollout.policy, 0):
            return "failed"
        self._write(rollout, scored, candidate)
        return "agreed"

    async def _replayed(
        self, rollout: LiveRollout, scored: ScoredRequest, tier: TierPlan, path: str
    ) -> tuple[ShadowOutcome, int]:
        body, record = scored.body or b"", scored.record
        revision = rollout.candidate.revision
        price = self._spending.price(rollout, revision, tier.name)
        estimate = estimate_nano(price, len(body), record.completion_tokens)
        question = Question(
            gateway=rollout.gateway,
            target=f"{rollout.policy}/{revision}/{tier.name}",
            deadline_s=tier.total_timeout_ms / 1000,
            path=path,
            body=body,
            request_id=f"{rollout.id}-{record.request_id}",
        )
        self._spending.reserve(rollout, estimate)
        try:
            reply = await self._replayer.send(STAGE, question)
        except UnavailableError as error:
            self._spending.release(rollout, estimate)
            self._block(rollout.policy, str(error))
            return "failed", 0
        except BaseException:
            self._spending.release(rollout, estimate)
            raise
        cost = cost_nano(price, len(body), reply)
        self._spending.settle(rollout, estimate, cost)
        self._unblock(rollout.policy)
        facts = self._policies.policy(rollout.policy)
        rule = facts.capture if facts is not None and facts.capture is not None else PLAIN
        scorers = self._scorers(rollout.policy)
        outcomes = await grade(reply, await asked(body, rule), scored.intent, scorers, rule)
        self._write(rollout, scored, outcomes)
        return "replayed", cost

    def _least_nano(self, rollout: LiveRollout, scored: ScoredRequest) -> int:
        """Return what the candidate's answer may cost where it is the dearest of its tiers."""
        revision = rollout.candidate.revision
        sent, tokens = len(scored.body or b""), scored.record.completion_tokens
        prices = [self._spending.price(rollout, revision, tier.name) for tier in rollout.candidate.tiers]
        return max(estimate_nano(price, sent, tokens) for price in prices)

    def _write(self, rollout: LiveRollout, scored: ScoredRequest, candidate: Outcomes) -> None:
        record = scored.record
        case = CaseName(
            rollout.policy, rollout.id, "shadow", record.request_id, record.session, scored.intent
        )
        for row in pairs(case, incumbent_outcomes(scored), candidate):
            self._take(row)

    def _note(self, scored: ScoredRequest, outcome: ShadowOutcome, cost: int) -> None:
        record = scored.record
        self._take(ShadowNote(record.policy, record.rollout, outcome, cost, record.request_id))

    def _skip(self, scored: ScoredRequest, because: str) -> None:
        self._metrics.skipped.labels(because).inc()
        self._note(scored, "skipped", 0)

    def _block(self, policy: str, why: str) -> None:
        if policy not in self._blocked:
            log.warning("no shadow evidence: %s", why, extra={"policy": policy})
        self._blocked[policy] = time.monotonic() + BLOCKED_S

    def _unblock(self, policy: str) -> None:
        if self._blocked.pop(policy, None) is not None:
            log.info("shadow replays get answers again", extra={"policy": policy})
