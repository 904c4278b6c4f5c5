"""Triton's binary answer to a raw request: a JSON header, and the outputs' bytes behind it. Pure."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

HEAD_SIZE: Final = "Inference-Header-Content-Length"
"""Header: how long the JSON is. 0 in a request: the body is the one input's one element, as it is."""

_LENGTH: Final = 4


class ReplyError(ValueError):
    """The bytes are not scores and an intent; the text says what is wrong, without any of them."""


def decode(head_size: str | None, body: bytes) -> tuple[tuple[float, ...], str]:
    """Return scores (as many as the model gave) and intent; raise `ReplyError`."""
    try:
        size = int(head_size or "")
        outputs = _outputs(json.loads(body[:size]), size)
        (first, length), (begin, whole) = outputs["score"], outputs["intent"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ReplyError("the answer's header names no score and intent") from None
    if size < 0 or length % 4 or not length or max(first + length, begin + whole) > len(body):
        raise ReplyError("the answer is shorter than its header says")
    text = body[begin + _LENGTH : begin + whole]
    if whole < _LENGTH or int.from_bytes(body[begin : begin + _LENGTH], "little") != len(text):
        raise ReplyError("the intent has another length than it says")
    scores = struct.unpack_from(f"<{length // 4}f", body, first)
    return scores, text.decode("utf-8", "replace")


def _outputs(head: Any, offset: int) -> dict[str, tuple[int, int]]:
    """Return where each output lies: offset and size in bytes."""
    found = {}
    for output in head["outputs"]:
        size = int(output["parameters"]["binary_data_size"])
        found[output["name"]] = (offset, size)
        offset += size
    return found
