"""A steady stream of chat requests against an entry, and what became of each: for demo, tests and benches.

About 1 ms of processor time a request (aiohttp, one process), 100 requests/s: a tenth of one core.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp

from pointsman.contract import Header


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to send."""

    id: str
    text: str
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request. Times: `time.monotonic()` seconds. `status` 0: no answer came."""

    prompt: str
    session: str
    sent_at: float
    done_at: float
    status: int
    tier: str = ""
    revision: str = ""
    reason: str = ""
    text: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    request_id: str = ""
    """As the entry named it: tiers and access logs know it by this id. "" without an answer."""

    @property
    def seconds(self) -> float:
        """From sending to the last byte."""
        return self.done_at - self.sent_at


@dataclass(frozen=True, slots=True)
class Target:
    """Where the stream goes. `host` is the `Host` header: what policies match on."""

    url: str
    host: str
    model: str = "auto"
    timeout_s: float = 60.0


@dataclass(slots=True)
class Load:
    """Sends prompts at `rate` a second, however long answers take (an open loop), and collects outcomes."""

    target: Target
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    name: str = "load"
    """What session ids begin with: two loads' sessions are never the same."""
    on_outcome: Callable[[Outcome], None] | None = None
    keep: bool = True
    """False: outcomes are only told, not collected, however long it runs."""
    _stop: bool = False

    def stop(self) -> None:
        """Send nothing more; requests under way finish."""
        self._stop = True

    async def run(self, prompts: Iterable[Prompt]) -> list[Outcome]:
        """Send every prompt once, until they end or `stop`; return all outcomes."""
        connector = aiohttp.TCPConnector(limit=0, force_close=False, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=self.target.timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            tasks: set[asyncio.Task[None]] = set()
            start = time.monotonic()
            for index, prompt in enumerate(prompts):
                await asyncio.sleep(max(0.0, start + index / self.rate - time.monotonic()))
                if self._stop:
                    break
                task = asyncio.create_task(self._one(session, prompt, f"{self.name}-{index}-{prompt.id}"))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
        return self.outcomes

    async def _one(self, session: aiohttp.ClientSession, prompt: Prompt, session_id: str) -> None:
        outcome = await send(session, self.target, prompt, session_id)
        if self.keep:
            self.outcomes.append(outcome)
        if self.on_outcome is not None:
            self.on_outcome(outcome)


def drawn(prompts: Sequence[Prompt], *, seed: int) -> Iterator[Prompt]:
    """Yield prompts for ever, each drawn at random from all of them: independent of all the others."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    while True:
        yield prompts[draw.randrange(len(prompts))]


def body(target: Target, prompt: Prompt) -> bytes:
    """Return the OpenAI chat body for a prompt."""
    payload: dict[str, object] = {
        "model": target.model,
        "messages": [{"role": "user", "content": prompt.text}],
    }
    if prompt.stream:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(payload).encode()


async def send(session: aiohttp.ClientSession, target: Target, prompt: Prompt, session_id: str) -> Outcome:
    """Send one request; a failure is an outcome, never an exception."""
    headers = {"content-type": "application/json", "host": target.host, Header.SESSION.value: session_id}
    sent = time.monotonic()
    try:
        async with session.post(
            f"{target.url}/v1/chat/completions", data=body(target, prompt), headers=headers
        ) as response:
            raw = await response.read()
            text, usage = _answer(raw, streamed=response.content_type == "text/event-stream")
            return Outcome(
                prompt=prompt.id,
                session=session_id,
                sent_at=sent,
                done_at=time.monotonic(),
                status=response.status,
                tier=response.headers.get(Header.SERVED_TIER.value, ""),
                revision=response.headers.get(Header.REVISION.value, ""),
                reason=response.headers.get(Header.REASON.value, ""),
                text=text,
                prompt_tokens=usage.get("prompt_tokens", 0),
                completion_tokens=usage.get("completion_tokens", 0),
                request_id=response.headers.get(Header.REQUEST_ID.value, ""),
            )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Outcome(
            prompt.id, session_id, sent, time.monotonic(), 0, error=f"{type(error).__name__}: {error}"
        )


def _answer(raw: bytes, *, streamed: bool) -> tuple[str, dict[str, int]]:
    """Return the answer's text and its usage from JSON or from an event stream."""
    text = ""
    usage: dict[str, int] = {}
    for event in _events(raw) if streamed else [raw]:
        try:
            data = json.loads(event)
        except ValueError:
            continue
        if not isinstance(data, dict):
            continue
        for choice in data.get("choices") or []:
            part = choice.get("delta") or choice.get("message") or {}
            text += part.get("content") or ""
        usage = data.get("usage") or usage
    return text, usage


def _events(raw: bytes) -> Iterator[bytes]:
    for line in raw.split(b"\n"):
        if line.startswith(b"data:") and b"[DONE]" not in line:
            yield line[5:].strip()
