"""May a request be sent a second time? What has effects on a server is left out. Pure.

Source of the fields: OpenAI's API reference, "Create chat completion"
(https://platform.openai.com/docs/api-reference/chat/create) and "Create a model response"
(https://platform.openai.com/docs/api-reference/responses/create); `plugins` is OpenRouter's, `mcp_servers`
and `container` are Anthropic's.
"""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from typing import Any, Final, Literal

CLIENT_TOOLS: Final = frozenset({"function", "custom"})
"""Tools that the client runs. Any other type is run by the server: web_search, web_search_preview,
file_search, code_interpreter, image_generation, computer_use_preview, mcp, shell, and what is yet to come."""

HOSTED: Final = ("web_search_options", "plugins", "mcp_servers", "container")
"""Members that switch something hosted on, wherever they are not empty."""

LINKED: Final = ("previous_response_id", "conversation")
"""Members that refer to what the server keeps: another tier has it not, and the same one would add to it."""

PATHS: Final = (
    ("messages", "/v1/chat/completions"),
    ("input", "/v1/responses"),
    ("prompt", "/v1/completions"),
)
"""A body's telling member, and where such a body is sent to: the path is not captured."""


class SkipError(Exception):
    """The request is not replayed: `because` is body (it cannot be read) or effects (something would change).

    The text names the member, and holds nothing of its value.
    """

    def __init__(self, because: Literal["body", "effects"], words: str) -> None:
        super().__init__(words)
        self.because = because


def path_of(body: bytes) -> str:
    """Return where to send a captured body again; `SkipError` if it must not be, or cannot be told."""
    try:
        document = json.loads(body.removeprefix(BOM_UTF8))
    except (ValueError, RecursionError):
        raise SkipError("body", "not JSON") from None
    if not isinstance(document, dict):
        raise SkipError("body", "not an object")
    path = next((path for member, path in PATHS if member in document), None)
    if path is None:
        raise SkipError("body", "neither messages nor input nor prompt")
    effect = side_effect(document)
    if effect:
        raise SkipError("effects", effect)
    return path


def side_effect(document: dict[str, Any]) -> str:
    """Name what a request would change on a server; "": nothing."""
    # The Responses API stores unless it is told not to.
    if document.get("store", "input" in document and "messages" not in document):
        return "store"
    if document.get("background"):
        return "background"
    for member in (*LINKED, *HOSTED):
        if document.get(member) not in (None, "", [], False):
            return member
    tools = document.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") not in CLIENT_TOOLS:
            return "hosted tool"
    return ""


def is_sampled(request_id: str, rollout: str, permille: int) -> bool:
    """Tell whether a request is in a rollout's sample: each rollout has another, no client can choose."""
    digest = hashlib.sha256(f"{rollout}/{request_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1000 < permille
