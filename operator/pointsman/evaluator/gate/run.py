"""Asks both revisions every case of the gate, each tier once, and writes pairs; picks up where it was cut."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from pointsman.api.v1alpha1.rubrics import rubric_version
from pointsman.evaluator import datasets
from pointsman.evaluator.cases import GateCase, GateTotal
from pointsman.evaluator.classify import ClassifierError, NonsenseError
from pointsman.evaluator.decision import asks, decide, same_answer
from pointsman.evaluator.gate.case import PATH, WithGate, body_of
from pointsman.evaluator.rollouts import tier_of, triton_urls
from pointsman.evaluator.rubrics import scorers as build_scorers
from pointsman.evaluator.shadow.grading import PLAIN, asked, grade
from pointsman.evaluator.shadow.pairs import ANSWERED, CaseName, pairs
from pointsman.evaluator.shadow.replay import Question, UnavailableError
from pointsman.evaluator.shadow.spending import cost_nano, estimate_nano
from pointsman.evaluator.sources import SourceError
from pointsman.evaluator.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pointsman.api.v1alpha1.datasets import Dataset
    from pointsman.evaluator.cases import CaseItem, CaseState
    from pointsman.evaluator.classify import Answer, Classifiers
    from pointsman.evaluator.datasets import Loaded
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.rollouts import LiveRollout, Rollouts
    from pointsman.evaluator.rubrics import Library
    from pointsman.evaluator.rubrics.types import Scorer
    from pointsman.evaluator.shadow.pairs import Outcomes
    from pointsman.evaluator.shadow.replay import Replayer
    from pointsman.evaluator.shadow.reply import Reply
    from pointsman.evaluator.shadow.spending import Spending
    from pointsman.gate.cases import GateCase as Case
    from pointsman.plan.types import ArmPlan, TierPlan

log = logging.getLogger(__name__)

STAGE: Final = "gate"
LOOK_S: Final = 1.0
"""How often it is looked for rollouts whose gate has begun or is over."""
WAIT_S: Final = 2.0
"""Before another look for a classifier, a way to a tier, a data set or money."""
PASSES: Final = 3
"""How often a case is asked whose outcome the store could not take."""
STORED_S: Final = 0.2
"""Before another look whether all cases are stored."""
RETRIES_S: Final = (1.0, 4.0)
"""Before each further attempt at an answer that a tier did not give."""
CONCURRENCY: Final = 16
"""Cases at a time, of one policy."""


Terms: TypeAlias = tuple["Dataset | None", tuple[str, ...]]
"""What a run begins anew for when it changes: data set, versions of the rubrics."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What gate runs work with; shared with the shadow."""

    policies: Policies
    rollouts: Rollouts
    classifiers: Classifiers
    replayer: Replayer
    library: Library
    spending: Spending
    take: Callable[[CaseItem], object]
    """The writer's queue."""
    done: Callable[[str, str], frozenset[str]]
    """(policy, rollout) → cases that the store has; blocking."""
    leads: Callable[[], bool]
    """Whether gate runs are this replica's to do."""
    behind_s: Callable[[], float]
    """Age of the oldest item that was taken and is not stored; infinite while the store takes nothing."""


class GateRuns:
    """The gate runs of all policies: one task for each rollout that is in its Gate."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._runs: dict[tuple[str, str], _Run] = {}

    @property
    def running(self) -> int:
        """Number of runs under way."""
        return sum(not run.task.done() for run in self._runs.values())

    async def run(self) -> None:
        """Start runs as gates begin, end them as gates end; until cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            tasks = [run.task for run in self._runs.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        wanted = {
            (rollout.policy, rollout.id): rollout
            for rollout in self._kit.rollouts.all()
            if rollout.gate is not None
            and rollout.step == "Gate"
            and self._kit.replayer.reaches(rollout.gateway)
            and self._kit.leads()
        }
        for key in [key for key in self._runs if key not in wanted]:
            self._runs.pop(key).task.cancel()
        for key, rollout in wanted.items():
            terms, known = self._terms(rollout), self._runs.get(key)
            if known is not None and known.terms == terms:
                known.run.rollout = rollout
                continue
            if known is not None:
                known.task.cancel()
            run = GateRun(self._kit, rollout, anew=known is not None)
            self._runs[key] = _Run(terms, run, asyncio.create_task(_guarded(run)))

    def _terms(self, rollout: LiveRollout) -> Terms:
        facts = self._kit.policies.policy(rollout.policy)
        rubrics = facts.rubrics if facts is not None else ()
        return rollout.gate, tuple(rubric_version(rubric) for rubric in rubrics)


@dataclass(frozen=True, slots=True)
class _Run:
    terms: Terms
    run: GateRun
    task: asyncio.Task[None]


async def _guarded(run: GateRun) -> None:
    """Run to the end; what nobody thought of ends this gate alone."""
    try:
        await run.run()
    except Exception:  # nothing of a case may be logged: the traceback has none
        log.exception("a gate run failed", extra={"policy": run.policy})


class GateRun:
    """One gate: every case of its data set."""

    def __init__(self, kit: Kit, rollout: LiveRollout, *, anew: bool = False) -> None:
        """`anew`: ask every case again, for rubrics that have changed since."""
        self._kit = kit
        self.rollout = rollout
        """As it is now: price, budget and plan may change while it runs."""
        self._anew = anew
        self._told = ""

    @property
    def policy(self) -> str:
        """`namespace/name`."""
        return self.rollout.policy

    async def run(self) -> None:
        """Ask the cases that are not in the store yet."""
        rollout = self.rollout
        loaded = await self._loaded()
        scorers = self._scorers(loaded)
        cases = {case.id: case for case in loaded.cases}
        self._kit.take(GateTotal(rollout.policy, rollout.id, len(cases)))
        done: frozenset[str] = frozenset()
        if not self._anew:
            done = await self._done()
        left = [case for case in cases.values() if case.id not in done]
        for _ in range(PASSES):
            await self._ask(left, scorers)
            done = await self._stored()
            # What the store could not take in time was dropped. Of a run anew there are older states.
            left = [case for case in left if case.id not in done and not self._anew]
            if not left:
                break
        log.info("gate: every case is answered", extra={"policy": rollout.policy, "cases": len(cases)})

    async def _ask(self, cases: Sequence[Case], scorers: Sequence[Scorer]) -> None:
        left = iter(cases)

        async def work() -> None:
            for case in left:  # shared: each worker takes the next one
                while math.isinf(self._kit.behind_s()):
                    await self._wait("the store takes nothing: an answer would be paid for and lost")
                await self._case(case, scorers)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(work())

    async def _stored(self) -> frozenset[str]:
        """Return the cases that are stored, once all that was taken is stored or dropped."""
        asked = time.monotonic()
        while self._kit.behind_s() >= time.monotonic() - asked:  # noqa: ASYNC110 - it is an age
            await asyncio.sleep(STORED_S)
        return await self._done()

    async def _done(self) -> frozenset[str]:
        while True:
            try:
                return await asyncio.to_thread(self._kit.done, self.rollout.policy, self.rollout.id)
            except StoreError as error:
                await self._wait(f"the store: {error}")

    async def _loaded(self) -> Loaded:
        if self.rollout.gate is None:
            raise ValueError("the policy has no gate")
        source = datasets.source(self.rollout.namespace, self.rollout.gate)
        while True:
            try:
                return await self._kit.library.datasets.get(source)
            except SourceError as error:
                await self._wait(f"spec.evaluation.gate.dataset: {error}")

    def _scorers(self, loaded: Loaded) -> Sequence[Scorer]:
        facts = self._kit.policies.policy(self.policy)
        resources = self._kit.library.resources(self.policy)
        resources = replace(resources, datasets=WithGate(resources.datasets, loaded))
        return build_scorers(facts.rubrics if facts is not None else (), resources)

    async def _case(self, case: Case, scorers: Sequence[Scorer]) -> None:
        """Ask one case and write what came of it: its state last, which says that its pairs are there."""
        answered = bool(case.messages) and await self._paired(case, scorers)
        state: CaseState = "scored" if answered else "failed"
        self._kit.take(GateCase(self.rollout.policy, self.rollout.id, case.id, state))

    async def _paired(self, case: Case, scorers: Sequence[Scorer]) -> bool:
        """Write a case's pairs; return whether both sides answered."""
        rollout = self.rollout
        body = body_of(case, rollout.model)
        incumbent, intent = await self._decided(rollout.incumbent, body)
        candidate, other = await self._decided(rollout.candidate, body)
        if rollout.incumbent.classifier is None:
            intent = other
        name = CaseName(rollout.policy, rollout.id, "gate", case.id, case.group, case.intent or intent)

        async def outcomes(arm: ArmPlan, tier: TierPlan) -> Outcomes:
            reply = await self._asked(arm, tier, body, f"{rollout.id}-gate-{case.turn_sha256[:16]}")
            facts = self._kit.policies.policy(rollout.policy)
            rule = facts.capture if facts is not None and facts.capture is not None else PLAIN
            return await grade(reply, await asked(body, rule), name.intent, scorers, rule)

        if same_answer(incumbent, candidate):
            mine = theirs = await outcomes(rollout.incumbent, incumbent)
        else:
            mine, theirs = await asyncio.gather(
                outcomes(rollout.incumbent, incumbent), outcomes(rollout.candidate, candidate)
            )
        for row in pairs(name, mine, theirs):
            self._kit.take(row)
        return mine[ANSWERED] and theirs[ANSWERED]

    async def _decided(self, arm: ArmPlan, body: bytes) -> tuple[TierPlan, str]:
        """Return the tier that an arm chooses, and the intent; waits for a classifier that is not there."""
        classifier, answer = asks(arm), None
        while classifier is not None:
            try:
                answer = await self._kit.classifiers.ask(triton_urls(classifier), classifier.model, body)
            except NonsenseError:
                pass  # the last tier would serve
            except ClassifierError as error:
                await self._wait(f"classifier of {arm.revision}: {error}")
                continue
            break
        return tier_of(arm, decide(arm, answer).tier) or arm.tiers[-1], _intent(answer)

    async def _asked(self, arm: ArmPlan, tier: TierPlan, body: bytes, request_id: str) -> Reply:
        """Return a tier's answer to a case, the last one of several attempts if it gives none."""
        rollout = self.rollout
        question = Question(
            gateway=rollout.gateway,
            target=f"{rollout.policy}/{arm.revision}/{tier.name}",
            deadline_s=tier.total_timeout_ms / 1000,
            path=PATH,
            body=body,
            request_id=request_id,
        )
        reply = await self._answer(arm, tier, question)
        for pause in RETRIES_S:
            if reply.answered:
                break
            await asyncio.sleep(pause)
            reply = await self._answer(arm, tier, question)
        return reply

    async def _answer(self, arm: ArmPlan, tier: TierPlan, question: Question) -> Reply:
        """Return a tier's answer; waits for money, and for a way to the tier."""
        spending = self._kit.spending
        while True:
            rollout = self.rollout
            price = spending.price(rollout, arm.revision, tier.name)
            estimate = estimate_nano(price, len(question.body), None)
            if not spending.admits(rollout, estimate):
                await self._wait("rollout.shadow.budgetUSDPerHour is spent")
                continue
            spending.reserve(rollout, estimate)
            try:
                reply = await self._kit.replayer.send(STAGE, question)
            except UnavailableError as error:
                spending.release(rollout, estimate)
                await self._wait(str(error))
                continue
            except BaseException:
                spending.release(rollout, estimate)
                raise
            spending.settle(rollout, estimate, cost_nano(price, len(question.body), reply))
            return reply

    async def _wait(self, why: str) -> None:
        self._tell(why)
        await asyncio.sleep(WAIT_S)

    def _tell(self, why: str) -> None:
        """Log what the gate waits for, once."""
        if why and why != self._told:
            log.warning("gate waits: %s", why, extra={"policy": self.policy})
        self._told = why


def _intent(answer: Answer | None) -> str:
    return answer.intent if answer is not None else ""
