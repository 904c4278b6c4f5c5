"""The evidence that Prometheus has, for all policies: asked in the background, told at once.

One task for each Prometheus that policies name, so that one that hangs holds up only its own policies; one
set of queries for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

from pointsman.controllers.look import Looker
from pointsman.controllers.prometheus import Prometheus, PrometheusError, PrometheusMetrics
from pointsman.rollout.evidence import Evidence, Question, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pointsman.clock import Clock

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
REST_S: Final = 60.0
"""Between looks while no rollout is under way: for noise and savings."""
SOON_S: Final = 0.2
"""A new question is asked this soon; several that come together are asked together."""
LONGEST_S: Final = 60.0
THREADS: Final = 32
_NOT_ASKED: Final = "Prometheus has not been asked yet"


class EvidenceMetrics:
    """How looking fares."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.prometheus = PrometheusMetrics(registry)
        self.looks = Counter(
            "pointsman_operator_evidence_looks_total",
            "Looks at a Prometheus; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_operator_evidence_look_duration_seconds",
            "Duration of one look: all queries for all policies of a Prometheus.",
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.questions = Gauge(
            "pointsman_operator_evidence_questions", "Policies that evidence is read for.", registry=registry
        )


@dataclass(slots=True)
class _Server:
    """One Prometheus: whose questions, and its answers."""

    questions: dict[str, Question] = field(default_factory=dict)
    answers: dict[str, tuple[Question, Evidence]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    failure: str = ""


class EvidenceReader:
    """Remembers the newest answer to each policy's question."""

    def __init__(
        self,
        changed: Callable[[str], None],
        metrics: EvidenceMetrics,
        clock: Clock,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Take whom to tell the key (`namespace/name`) of each policy whose evidence says something new."""
        self._changed = changed
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._servers: dict[str, _Server] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        metrics.questions.set_function(
            lambda: sum(len(server.questions) for server in self._servers.values())
        )

    def evidence(self, question: Question) -> Evidence:
        """Return what is known, at once; the question is asked from now on, until another or `withdraw`."""
        key = f"{question.namespace}/{question.policy}"
        if not question.prometheus:
            self.withdraw(key)
            words = "spec.evaluation.prometheus is not set: no counts can be read"
            return Evidence(self._now_s(), Trouble.NOT_CONFIGURED, words)
        server = self._servers.get(question.prometheus)
        if server is None or server.questions.get(key) != question:
            server = self._declare(key, question)
        asked, answer = server.answers.get(key, (None, None))
        if asked is not None and answer is not None and _answers(asked, question):
            return answer
        return Evidence(self._now_s(), Trouble.NOT_YET, server.failure or _NOT_ASKED)

    def withdraw(self, key: str) -> None:
        """Ask nothing more for a policy."""
        for server in self._servers.values():
            server.questions.pop(key, None)
            server.answers.pop(key, None)
            if not server.questions:
                server.wake.set()

    async def close(self) -> None:
        """End all asking."""
        tasks = [server.task for server in self._servers.values() if server.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _now_s(self) -> float:
        return self._clock().timestamp()

    def _declare(self, key: str, question: Question) -> _Server:
        server = self._servers.setdefault(question.prometheus, _Server())
        if key not in server.questions:
            self.withdraw(key)  # it may have named another Prometheus before
        server.questions[key] = question
        server.wake.set()
        if server.task is None:
            name = f"prometheus {question.prometheus}"
            server.task = asyncio.create_task(self._follow(question.prometheus, server), name=name)
        return server

    # -- one task a Prometheus -------------------------------------------------------------------------------

    async def _follow(self, url: str, server: _Server) -> None:
        """Ask until nobody asks any more."""
        prometheus = Prometheus(url, self._metrics.prometheus)
        looker, errors = Looker(prometheus), 0
        try:
            while server.questions:
                server.wake.clear()
                failed = not await self._look(url, server, looker)
                errors = errors + 1 if failed else 0
                await self._pause(server, errors)
        finally:
            prometheus.close()
            if self._servers.get(url) is server:
                del self._servers[url]

    async def _look(self, url: str, server: _Server, looker: Looker) -> bool:
        questions = dict(server.questions)
        loop = asyncio.get_running_loop()
        started = loop.time()
        found: dict[Question, Evidence] = {}
        try:
            found = await loop.run_in_executor(self._threads, looker.look, tuple(questions.values()))
        except PrometheusError as error:
            self._fail(server, str(error))
        except Exception as error:  # a defect must not end the looking, nor pass for evidence
            log.exception("looking at %s failed", url)
            self._fail(server, f"{url}: {type(error).__name__}")
        else:
            server.failure = ""
        self._metrics.looks.labels("ok" if found else "error").inc()
        self._metrics.duration.observe(loop.time() - started)
        for key, question in questions.items():
            if key in server.questions:
                self._tell(server, key, question, found.get(question))
        return bool(found)

    def _fail(self, server: _Server, words: str) -> None:
        if server.failure != words:
            log.warning("no evidence: %s", words)
        server.failure = words

    def _tell(self, server: _Server, key: str, question: Question, found: Evidence | None) -> None:
        """Keep an answer, None: there was none; and tell if it says something else than the one before."""
        _, before = server.answers.get(key, (question, None))
        if found is None:
            known = before or Evidence(self._now_s())
            found = replace(known, trouble=Trouble.UNREACHABLE, words=server.failure)
        server.answers[key] = (question, found)
        if before is None or _without_time(before) != _without_time(found):
            self._changed(key)

    async def _pause(self, server: _Server, errors: int) -> None:
        """Wait for the next look: sooner for a question that is new, later for a server that fails."""
        live = any(question.rollout for question in server.questions.values())
        pause_s = self._interval_s if live else REST_S
        if errors:
            pause_s = min(LONGEST_S, self._interval_s * 2 ** min(errors - 1, 6))
            await asyncio.sleep(min(pause_s, self._interval_s))
            pause_s -= self._interval_s
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, pause_s)):
                await server.wake.wait()
        await asyncio.sleep(SOON_S)


def _answers(asked: Question, question: Question) -> bool:
    """Tell whether an answer holds for a question that got another step since: it has no counts yet."""
    return question == replace(asked, steps=question.steps) and (
        question.steps[: len(asked.steps)] == asked.steps
    )


def _without_time(evidence: Evidence) -> Evidence:
    return replace(evidence, at_s=0.0, scored_until_s=0.0)
