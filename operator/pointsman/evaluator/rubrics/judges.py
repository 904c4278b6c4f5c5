"""Asking a model for its judgement: OpenAI-compatible, temperature 0, within a budget, remembered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from prometheus_client import Counter, Histogram

from pointsman.api.v1alpha1.rubrics import DEFAULT_SCALE
from pointsman.evaluator.rubrics.budget import Allowance, Budget

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from pointsman.api.v1alpha1.meta import SecretKeyRef
    from pointsman.api.v1alpha1.rubrics import Judge
    from pointsman.evaluator.rubrics.types import Because

    ReadKey = Callable[[str, SecretKeyRef], Awaitable[str]]
    """Namespace and reference → the key; raises where it cannot be read."""

log = logging.getLogger(__name__)

ATTEMPTS: Final = 3
ATTEMPT_S: Final = 60.0
DEADLINE_S: Final = 150.0
"""For one judgement with its retries."""
PARALLEL: Final = 8
PAUSE_S: Final = (0.5, 20.0)
"""First pause before a retry, and the longest that a Retry-After is heeded."""
REPLY_BYTES: Final = 1 << 20
REMEMBERED: Final = 65_536
SEED: Final = 7
_PLACE: Final = re.compile(r"\{(question|answer|reference)\}")
# A whole number that is no part of another: neither 4.5 nor -4 nor 14 holds a 4; a full stop may follow.
_INTEGER: Final = re.compile(r"(?<![\w.,+-])\d{1,4}(?![\w]|[.,]\d)")


class JudgeMetrics:
    """What judging costs and how it ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "pointsman_evaluator_judge_calls_total",
            "Calls of judges, each attempt; outcome is ok, busy, refused, unreadable or unreachable.",
            ["policy", "rubric", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "pointsman_evaluator_judge_call_duration_seconds",
            "Duration of a call.",
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.remembered = Counter(
            "pointsman_evaluator_judge_remembered_total",
            "Judgements that were known already.",
            ["policy", "rubric"],
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be judged, and for whom."""

    policy: str
    """namespace/name."""
    rubric: str
    version: str
    judge: Judge
    question: str
    answer: str
    reference: str = ""

    @property
    def digest(self) -> bytes:
        """Key of the judgement: what was asked in which version, without the texts."""
        parts = [self.version, self.question, self.answer, self.reference]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


def filled(template: str, *, question: str, answer: str, reference: str) -> str:
    """Return the prompt. What stands in the texts is not filled in again, whatever it looks like."""
    values = {"question": question, "answer": answer, "reference": reference}
    return _PLACE.sub(lambda m: values[m[1]], template)


def score_in(reply: str, low: int, high: int) -> int | None:
    """Return the first whole number of the scale in a reply; None: there is none."""
    return next((n for n in map(int, _INTEGER.findall(reply)) if low <= n <= high), None)


class _BusyError(Exception):
    """Worth another attempt, after so many seconds if the server said so."""

    def __init__(self, outcome: str, after_s: float | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.after_s = after_s


class _FailedError(Exception):
    """Another attempt would fail, too."""

    def __init__(self, outcome: str, words: str) -> None:
        super().__init__(words)
        self.outcome = outcome


class Judges:
    """All judges of a process. Neither logs nor keeps what it asks: only scores, by hash."""

    def __init__(
        self,
        key: ReadKey,
        metrics: JudgeMetrics,
        *,
        verify: ssl.SSLContext | bool = True,
        at_once: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        """`at_once`: a budget is for the whole run, without pace (for a command that runs once)."""
        self._key = key
        self._metrics = metrics
        self._verify = verify
        self._http: httpx.AsyncClient | None = None
        self._slots = asyncio.Semaphore(PARALLEL)
        self._budgets: dict[tuple[str, str, int], Budget] = {}
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._at_once = at_once
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._said: dict[tuple[str, str], str] = {}
        self.sharers: Callable[[], int] = _one
        """How many evaluators ask the same judges: each has its part of every budget."""

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, question: Question) -> int | Because:
        """Return the score, or `budget` or `judge_failed`. Never raises but when cancelled."""
        known = self._known.get(question.digest)
        if known is not None:
            self._known.move_to_end(question.digest)
            self._metrics.remembered.labels(question.policy, question.rubric).inc()
            return known
        try:
            async with self._slots, asyncio.timeout(DEADLINE_S):
                score = await self._asked(question)
        except TimeoutError:
            self._say(question, f"it did not answer within {DEADLINE_S:g} s")
            return "judge_failed"
        if isinstance(score, int):
            self._said.pop((question.policy, question.rubric), None)
            self._known[question.digest] = score
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return score

    async def _asked(self, question: Question) -> int | Because:
        calls = self._metrics.calls
        for attempt in range(1, ATTEMPTS + 1):
            if not self._budget(question).take(time.monotonic()):
                return "budget" if attempt == 1 else "judge_failed"
            try:
                with self._metrics.seconds.time():
                    score = await self._call(question)
            except _BusyError as error:
                calls.labels(question.policy, question.rubric, error.outcome).inc()
                if attempt == ATTEMPTS:
                    self._say(question, f"it is {error.outcome} after {ATTEMPTS} attempts")
                    break
                pause = PAUSE_S[0] * 2 ** (attempt - 1) * self._rng.uniform(0.5, 1.5)
                await asyncio.sleep(min(PAUSE_S[1], max(pause, error.after_s or 0.0)))
            except _FailedError as error:
                calls.labels(question.policy, question.rubric, error.outcome).inc()
                self._say(question, str(error))
                break
            else:
                calls.labels(question.policy, question.rubric, "ok").inc()
                return score
        return "judge_failed"

    async def _call(self, question: Question) -> int:
        judge = question.judge
        prompt = filled(
            judge.prompt, question=question.question, answer=question.answer, reference=question.reference
        )
        body = {
            "model": judge.endpoint.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "seed": SEED,
        }
        url = f"{judge.endpoint.url.rstrip('/')}/chat/completions"
        headers = await self._headers(question)
        try:
            async with (
                asyncio.timeout(ATTEMPT_S),
                self._client().stream("POST", url, json=body, headers=headers) as response,
            ):
                _refuse(response)
                reply = await _bounded(response)
        except (httpx.RequestError, TimeoutError):
            raise _BusyError("unreachable") from None
        scale = (judge.scale.min, judge.scale.max) if judge.scale else DEFAULT_SCALE
        score = score_in(_text(reply), *scale)
        if score is None:
            raise _FailedError("unreadable", f"its reply holds no whole number from {scale[0]} to {scale[1]}")
        return score

    def _client(self) -> httpx.AsyncClient:
        """Return the connections, made when there is something to judge: reading trust takes 50 ms."""
        if self._http is None:
            self._http = httpx.AsyncClient(verify=self._verify, timeout=ATTEMPT_S, follow_redirects=False)
        return self._http

    async def _headers(self, question: Question) -> dict[str, str]:
        ref = question.judge.endpoint.api_key_ref
        if ref is None:
            return {}
        try:
            key = await self._key(question.policy.partition("/")[0], ref)
            return {"Authorization": f"Bearer {key.strip()}".encode("ascii").decode()}
        except Exception as error:  # noqa: BLE001 - whatever the caller's reader raises; it may hold the key
            where = f"endpoint.apiKeyRef: Secret {ref.name}, key {ref.key}"
            raise _FailedError("refused", f"{where} cannot be read: {type(error).__name__}") from None

    def _budget(self, question: Question) -> Budget:
        per_hour = max(1, question.judge.budget_per_hour // self.sharers())
        place = (question.policy, question.rubric, per_hour)
        if place not in self._budgets:
            made = Allowance(per_hour) if self._at_once else Budget(per_hour, time.monotonic())
            self._budgets[place] = made
        return self._budgets[place]

    def _say(self, question: Question, words: str) -> None:
        """Log once per rubric what is wrong, until something else is."""
        place = (question.policy, question.rubric)
        if self._said.get(place) != words:
            self._said[place] = words
            log.warning("the judge failed: %s", words, extra={"policy": place[0], "rubric": place[1]})

    def said(self, policy: str, rubric: str) -> str:
        """Return why a rubric's judge last failed; "": it did not."""
        return self._said.get((policy, rubric), "")


def _refuse(response: httpx.Response) -> None:
    status = response.status_code
    if status in {408, 429} or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        after = response.headers.get("retry-after", "")
        raise _BusyError("busy", float(after) if after.isascii() and after.isdigit() else None)
    if status != httpx.codes.OK:
        raise _FailedError("refused", f"it answers {status}; check endpoint.url, model and apiKeyRef")


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > REPLY_BYTES:
            raise _FailedError("unreadable", f"its reply is larger than {REPLY_BYTES} bytes")
    return bytes(content)


def _text(reply: bytes) -> str:
    """Return the reply's text; "" where it has none."""
    try:
        value: Any = json.loads(reply)
        content = value["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""


def _one() -> int:
    return 1
