"""Asks classifiers on Triton, off the path: for the intent that both arms share, and for shadow decisions."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from pointsman.evaluator.decision import Answer
from pointsman.triton.client import TritonClient, TritonError, TritonMetrics, TritonNonsenseError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Answer", "ClassifierError", "Classifiers", "NonsenseError"]

DEADLINE_S: Final = 2.0
"""Of one question, with its retry and its turn in the queue."""
FIRST_S: Final = 1.0
"""Of the first attempt: what is left is the other replica's."""
CONCURRENCY: Final = 8
"""Questions at a time: a replica scores one in less than a millisecond, and live traffic comes first."""
REMEMBERED: Final = 4096


class ClassifierError(Exception):
    """No scores: the text says why, and holds nothing of the request."""


class NonsenseError(ClassifierError):
    """Answered, but not with scores and an intent: Envoy would serve the last tier."""


class ClassifyMetrics:
    """How classifiers fare when the evaluator asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.asked = Counter(
            "pointsman_evaluator_classifier_questions_total",
            "Questions to classifiers; outcome is ok, remembered, nonsense, late or failed.",
            ["outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "pointsman_evaluator_classifier_question_duration_seconds",
            "From a question that is not remembered to its answer, waiting for its turn included.",
            registry=registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2),
        )


class Classifiers:
    """The classifiers of all policies. Answers are remembered: a model is named by its content."""

    def __init__(self, registry: CollectorRegistry, client: TritonClient | None = None) -> None:
        self._client = client or TritonClient(TritonMetrics(registry))
        self._metrics = ClassifyMetrics(registry)
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._known: OrderedDict[tuple[str, bytes], Answer] = OrderedDict()
        self._next = 0

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def ask(self, urls: Sequence[str], model: str, body: bytes) -> Answer:
        """Return a request's scores and intent, from any of the replicas `urls`; raise `ClassifierError`.

        `body` is the request as the client sent it. Two attempts, on two replicas where there are two.
        """
        key = (model, hashlib.sha256(body).digest())
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            self._metrics.asked.labels("remembered").inc()
            return known
        if not urls:
            raise ClassifierError("no Triton is named")
        with self._metrics.seconds.time():
            answer = await self._within(urls, model, body)
        self._metrics.asked.labels("ok").inc()
        self._known[key] = answer
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return answer

    async def _within(self, urls: Sequence[str], model: str, body: bytes) -> Answer:
        """Ask within the deadline, and count how it fails."""
        try:
            async with asyncio.timeout(DEADLINE_S), self._turns:
                return await self._ask(urls, model, body)
        except TimeoutError:
            self._metrics.asked.labels("late").inc()
            raise ClassifierError(f"no answer within {DEADLINE_S:g} s") from None
        except TritonNonsenseError as error:
            self._metrics.asked.labels("nonsense").inc()
            raise NonsenseError(str(error)) from error
        except TritonError as error:
            self._metrics.asked.labels("failed").inc()
            raise ClassifierError(str(error)) from error

    async def _ask(self, urls: Sequence[str], model: str, body: bytes) -> Answer:
        self._next += 1  # the replicas in turn
        begin = time.monotonic()
        try:
            return Answer(*await self._client.ask(urls[self._next % len(urls)], model, body, FIRST_S))
        except TritonError:
            left = DEADLINE_S - (time.monotonic() - begin)
        return Answer(*await self._client.ask(urls[(self._next + 1) % len(urls)], model, body, left))
