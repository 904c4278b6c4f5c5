"""One parser for every OpenAI-compatible body: raw bytes in, the text to classify out.

Which text? The **last user turn**, and only that:

- The system prompt is the same for every request of an application, so it cannot tell two of them apart,
  and its length would drown a short question. (Where there is no user turn, the last system or developer
  message stands in.)
- In an agent's loop the last user turn stays the same while tool calls and tool results pile up behind it:
  the loop stays on one tier.
- Earlier user turns were decided on when they were the last one.

Images, audio, files, tool calls and tool results are left out. A text longer than `MAX_CHARACTERS` keeps
its first and its last half of that.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import Any

MAX_CHARACTERS = 8192
"""Bounds the classifier's work on one request (about 1 ms)."""


@dataclass(frozen=True)
class Prompt:
    """The text to classify: not blank, at most `MAX_CHARACTERS` + 1 characters, encodable as UTF-8."""

    text: str
    form: str
    """`chat`, `responses` or `completions`."""
    truncated: bool = False


@dataclass(frozen=True)
class Unreadable:
    """No text to classify; the request belongs to the strong tier."""

    reason: str
    """`empty`, `encoding`, `json`, `form` or `no_text`."""
    message: str


def parse(body: bytes) -> Prompt | Unreadable:
    """Return the text to classify of an OpenAI-compatible body. Never raises, whatever the bytes."""
    document = _document(body)
    if isinstance(document, Unreadable):
        return document
    if "messages" in document:
        form, text = "chat", _turns(document["messages"], None)
    elif "input" in document:
        form, text = "responses", _turns(document["input"], document.get("instructions"))
    elif "prompt" in document:
        form, text = "completions", _strings(document["prompt"])
    else:
        return Unreadable("form", "the body has none of `messages`, `input` and `prompt`")
    text = text.strip()
    if not text:
        return Unreadable("no_text", f"there is no text to classify in this {form} request")
    short = bound(text)
    if not short.isascii():  # JSON can escape half a surrogate pair, which no encoder takes
        short = short.encode("utf-8", "replace").decode()
    return Prompt(short, form, truncated=len(text) > MAX_CHARACTERS)


def bound(text: str) -> str:
    """Return the text as it is classified: stripped, without the middle where it is too long."""
    text = text.strip()
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}\n{text[-half:]}"


def _document(body: bytes) -> dict[str, Any] | Unreadable:
    """Return the JSON object that the body holds."""
    try:
        document = json.loads(body.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        return Unreadable("encoding", f"the body is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:  # bad syntax, numbers of absurd length, absurd depth
        if not body.strip():
            return Unreadable("empty", "the body is empty")
        return Unreadable("json", f"the body is not JSON: {str(error)[:200]}")
    if not isinstance(document, dict):
        return Unreadable("form", "the body is JSON, but not an object")
    return document


def _turns(messages: Any, instructions: Any) -> str:
    """Return the last user turn, else the last system or developer turn, else the instructions."""
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list):
        return ""
    system = ""
    for message in reversed(messages):
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        if role == "user":
            text = _content(message.get("content"))
            if text.strip():
                return text
        elif role in ("system", "developer") and not system:
            system = _content(message.get("content"))
    return system or (instructions if isinstance(instructions, str) else "")


def _content(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in ("text", "input_text"):
            text = part.get("text")
            if isinstance(text, str):
                texts.append(text)
    return "\n".join(texts)


def _strings(prompt: Any) -> str:
    """Return a completion's prompt: a string, or several; token ids are no text."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return "\n".join(item for item in prompt if isinstance(item, str))
    return ""
