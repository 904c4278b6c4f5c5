"""What a replay tier answers, and how slowly: pure. The answers are real, the latency is synthetic."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_PIECE_WORDS: Final = 4
_PIECES: Final = re.compile(rf"(?:\s*\S+){{1,{_PIECE_WORDS}}}|\s+")
_ERRORS: Final = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error"}


class BadRequestError(ValueError):
    """The request cannot be answered; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its usage. `recorded` False: a canned one, because the records have none."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    recorded: bool

    def usage(self) -> dict[str, int]:
        """Return OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }

    def pieces(self) -> list[str]:
        """Return the text in the pieces that a stream sends, of up to four words."""
        return _PIECES.findall(self.text)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds to the first token and for each one after it; both vary by ± 25 % with seed and prompt."""

    seed: int
    speed: float
    """Divides every wait; 0 waits never."""
    base_s: float = 0.2
    prompt_token_s: float = 0.0002
    output_token_s: float = 0.01
    spread: float = 0.25

    def of(self, prompt: str, answer: Answer) -> tuple[float, float]:
        """Return (time to first token, time for all the others); the same for the same seed and prompt."""
        if self.speed == 0:
            return 0.0, 0.0
        draw = random.Random(f"{self.seed}:{prompt}")  # noqa: S311 - repeatable, not secret
        first = self.base_s + self.prompt_token_s * answer.prompt_tokens
        rest = self.output_token_s * answer.completion_tokens
        return (
            first * math.exp(draw.gauss(0, self.spread)) / self.speed,
            rest * math.exp(draw.gauss(0, self.spread)) / self.speed,
        )


@dataclass(slots=True)
class Faults:
    """What goes wrong, and in which share of the requests. Drawn from a seed: repeatable."""

    status: int = 0
    """Answer with this HTTP status instead (400..599); 0: answer."""
    delay_ms: int = 0
    empty: bool = False
    """Answer 200 with no text."""
    garbage: bool = False
    """Answer 200 with a body that is no JSON, nor an event stream."""
    share_permille: int = 1000
    seed: int = 0
    _draw: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)  # noqa: S311 - repeatable, not secret

    @classmethod
    def from_json(cls, value: object) -> Faults:
        """Read the fields above from a JSON object, all optional; else `BadRequestError`."""
        limits: dict[str, tuple[type[int], int, int]] = {
            "status": (int, 400, 599),
            "delay_ms": (int, 0, 600_000),
            "empty": (bool, 0, 1),
            "garbage": (bool, 0, 1),
            "share_permille": (int, 0, 1000),
            "seed": (int, 0, 2**63),
        }
        if not isinstance(value, dict):
            raise BadRequestError("faults: must be a JSON object")
        for name, given in value.items():
            if name not in limits:
                raise BadRequestError(f"faults: {name}: unknown; use {', '.join(limits)}")
            kind, least, most = limits[name]
            if type(given) is not kind or not least <= given <= most:
                raise BadRequestError(f"faults: {name}: must be a {kind.__name__} from {least} to {most}")
        return cls(**value)

    def strikes(self) -> bool:
        """Draw whether the next request is hit."""
        return self._draw.randrange(1000) < self.share_permille


def question(body: bytes, *, chat: bool) -> tuple[dict[str, Any], str]:
    """Return the decoded request and what it asks: the last user turn, or a completion's prompt."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise BadRequestError("you must provide a model parameter")
    if not chat:
        if not isinstance(request.get("prompt"), str):
            raise BadRequestError("prompt: must be a string")
        return request, request["prompt"]
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages: must be a list of at least one message")
    turns = [_text(m.get("content")) for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return request, turns[-1] if turns else ""


def wants_usage(request: Mapping[str, Any]) -> bool:
    """Say whether a stream shall end with its usage (`stream_options.include_usage`)."""
    options = request.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def look_up(records: Mapping[str, Answer], model: str, prompt: str) -> Answer:
    """Return the recorded answer to exactly this text or, clearly marked, an echo of it."""
    found = records.get(prompt)
    if found is not None:
        return found
    text = f"[replay tier, {model}: no recorded answer to this prompt] {prompt[:200]}"
    # Nobody recorded these tokens: four characters a token, as a rule of thumb.
    return Answer(text, len(prompt) // 4 + 1, len(text) // 4 + 1, recorded=False)


def completion(identity: Mapping[str, Any], answer: Answer, *, chat: bool) -> dict[str, Any]:
    """Return a whole answer in OpenAI's shape; `identity` has id, created and model."""
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    if chat:
        choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
    else:
        choice["text"] = answer.text
    kind = "chat.completion" if chat else "text_completion"
    return {**identity, "object": kind, "choices": [choice], "usage": answer.usage()}


def chunk(
    identity: Mapping[str, Any], piece: str | None, *, chat: bool, first: bool = False
) -> dict[str, Any]:
    """Return one event of a stream; `piece` None ends the choice."""
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": None if piece is not None else "stop",
    }
    if not chat:
        choice["text"] = piece or ""
    elif piece is None:
        choice["delta"] = {}
    else:
        choice["delta"] = {"role": "assistant", "content": piece} if first else {"content": piece}
    kind = "chat.completion.chunk" if chat else "text_completion"
    return {**identity, "object": kind, "choices": [choice]}


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    kind = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004 - HTTP
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)]
    return "\n".join(texts)
