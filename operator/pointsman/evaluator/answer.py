"""What is kept of a captured body: the request's JSON, the answer's text put together from its events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pointsman.evaluator.redact import redact, redact_json, unescaped, without_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.evaluator.prices import CaptureRule

Half = Literal["request", "response"]
Form = Literal["json", "text", "messages", "raw"]
"""How a stored text reads. json: the whole body. text: an answer's text. messages: a JSON list of its
messages (tool calls, refusals, several choices). raw: what could not be read as any of them."""

DEEPEST: Final = 200
"""Deeper JSON is kept as raw text: reading it would exhaust the stack."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is stored of a body, redacted."""

    form: Form
    text: str
    truncated: bool


def keep(half: Half, body: bytes, content_type: str, rule: CaptureRule, *, truncated: bool) -> Kept:
    """Return what `rule` allows to keep of a body."""
    truncated = truncated or len(body) > rule.max_bytes
    whole = body[: rule.max_bytes].decode(errors="replace")
    if half == "response" and (
        "event-stream" in content_type or whole.lstrip().startswith(("data:", "event:"))
    ):
        messages = messages_of_stream(whole)
        if messages:
            return _kept_messages(messages, rule, truncated=truncated)
    value = None if truncated else _json(whole)
    if isinstance(value, dict | list):
        messages = messages_of_body(value) if half == "response" and isinstance(value, dict) else []
        if messages:
            return _kept_messages(messages, rule, truncated=truncated)
        return Kept("json", _compact(redact_json(value, rule.redact)), truncated)
    text = unescaped(whole)
    if truncated:
        text = without_tail(text, rule.redact)
    return Kept("raw", _storable(redact(text, rule.redact)), truncated)


def _kept_messages(messages: list[dict[str, Any]], rule: CaptureRule, *, truncated: bool) -> Kept:
    if truncated:
        for message in messages:
            if isinstance(message.get("content"), str):
                message["content"] = without_tail(message["content"], rule.redact)
            for call in message.get("tool_calls", ()):
                call["arguments"] = without_tail(call["arguments"], rule.redact)
    only = messages[0]
    if len(messages) == 1 and only.keys() <= {"content"}:
        return Kept("text", _storable(redact(str(only.get("content", "")), rule.redact)), truncated)
    return Kept("messages", _compact(redact_json(_arguments_read(messages), rule.redact)), truncated)


def text_of(kept: Kept) -> tuple[str, list[dict[str, Any]]]:
    """Return a stored answer's text (of the first choice) and its messages."""
    if kept.form != "messages":
        return kept.text, [{"content": kept.text}] if kept.form == "text" else []
    messages: list[dict[str, Any]] = json.loads(kept.text)
    content = messages[0].get("content") if messages else None
    return (content if isinstance(content, str) else ""), messages


def messages_of_body(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chat or text completion as plain messages; [] for any other answer."""
    messages = []
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        builder = _Message()
        message = choice.get("message")
        builder.add(message if isinstance(message, dict) else {"content": choice.get("text")})
        messages.append(builder.message())
    return messages


def messages_of_stream(text: str) -> list[dict[str, Any]]:
    """Put an event stream's deltas together, one message a choice. Unreadable events are left out."""
    builders: dict[int, _Message] = {}
    for event in _events(text):
        value = _json(event)
        if not isinstance(value, dict):
            continue
        kind, delta = value.get("type"), value.get("delta")
        if kind == "response.output_text.delta" and isinstance(delta, str):
            builders.setdefault(0, _Message()).add({"content": delta})
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                builder = builders.setdefault(index if isinstance(index, int) else 0, _Message())
                part = choice.get("delta", choice.get("message"))
                builder.add(part if isinstance(part, dict) else {"content": choice.get("text")})
    return [builders[index].message() for index in sorted(builders)]


class _Message:
    """One message as its parts arrive."""

    def __init__(self) -> None:
        self._text: dict[str, list[str]] = {"content": [], "refusal": []}
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, part: dict[str, Any]) -> None:
        """Take a message or a delta of one in."""
        for name, pieces in self._text.items():
            value = part.get(name)
            if isinstance(value, str):
                pieces.append(value)
            elif isinstance(value, list):
                pieces += [p["text"] for p in value if isinstance(p, dict) and isinstance(p.get("text"), str)]
        calls = part.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                index = call.get("index", position)
                whole = self._calls.setdefault(
                    index if isinstance(index, int) else 0, {"name": "", "arguments": ""}
                )
                for name in whole:
                    whole[name] += str(function.get(name) or "")

    def message(self) -> dict[str, Any]:
        """Return the message: `content`, and `refusal` and `tool_calls` if there are any."""
        message: dict[str, Any] = {"content": "".join(self._text["content"])}
        if self._text["refusal"]:
            message["refusal"] = "".join(self._text["refusal"])
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message


def _arguments_read(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read tool arguments (JSON in a string), so that redaction sees them without escapes."""
    for message in messages:
        for call in message.get("tool_calls", ()):
            value = _json(call["arguments"])
            call["arguments"] = value if isinstance(value, dict | list) else unescaped(call["arguments"])
    return messages


def _events(text: str) -> Iterator[str]:
    """Yield the data of each server-sent event (its lines joined), an unfinished last one too."""
    lines: list[str] = []
    for line in [*re.split(r"\r\n|\n|\r", text), ""]:
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []


def _json(text: str) -> Any:
    """Return the JSON value; None if it is none, or too deep to be handled."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if _shallow(value) else None


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return True
    return False


def _compact(value: Any) -> str:
    return _storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _storable(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates (half an escaped emoji) become `?`."""
    return text.encode(errors="replace").decode()
