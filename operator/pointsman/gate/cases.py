"""Cases with references, as JSON lines: what a rubric's reference and a gate are read from. Pure."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from pointsman.evaluator.turns import text_sha256, turn_sha256
from pointsman.triton.backend.request import Prompt, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GZIP: Final = b"\x1f\x8b"
UNPACKED_BYTES: Final = 256 << 20
"""Most that a file may hold once it is unpacked."""
LINE_BYTES: Final = 4 << 20
CASES: Final = 1_000_000


class CaseError(ValueError):
    """A file of cases, or of answers, cannot be read; the message names line, field and remedy."""


@dataclass(frozen=True, slots=True)
class GateCase:
    """One case."""

    line: int
    """Number of its line, from 1."""
    id: str
    """`id` of the line, else its turn's hash."""
    turn_sha256: str
    """Key of the reference: `turns.turn_sha256` of a request with these messages."""
    messages: tuple[dict[str, Any], ...]
    """What to ask; empty where only a hash was given: it can be a reference, but not be replayed."""
    question: str
    """Text of the last user turn; "": only its hash is known."""
    reference: str | None
    intent: str
    group: str
    """Cases that are alike share it; its own where the line names none."""


def prompt_sha256(prompt: str) -> str:
    """Return the key of a request whose last user turn is `prompt`; "": it is blank."""
    return turn_sha256(json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode())


def unpacked(content: bytes, limit: int = UNPACKED_BYTES) -> bytes:
    """Return the content without gzip, if it is gzip; `CaseError` where it is broken or too large."""
    if content.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=BytesIO(content)) as file:
                content = file.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise CaseError(f"the file cannot be unpacked: {error}") from None
    if len(content) > limit:
        raise CaseError(f"the file is larger than {limit} bytes, the limit; split it or leave out fields")
    return content


def read_lines(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and object of every line that is not blank; `CaseError`."""
    number = 0
    for number, line in enumerate(unpacked(content).splitlines(), 1):
        if number > CASES:
            raise CaseError(f"line {number}: more than {CASES} lines, the limit; leave some out")
        if not line.strip():
            continue
        if len(line) > LINE_BYTES:
            raise CaseError(f"line {number}: longer than {LINE_BYTES} bytes, the limit")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CaseError(
                f"line {number}: is not JSON: {str(error)[:200]}; write one object a line"
            ) from None
        if not isinstance(value, dict):
            raise CaseError(f"line {number}: is JSON, but not an object; write one object a line")
        yield number, value


def read_cases(content: bytes) -> tuple[GateCase, ...]:
    """Return the cases of a data set's file; `CaseError` at the first line that is none."""
    cases = tuple(_case(number, value) for number, value in read_lines(content))
    if not cases:
        raise CaseError("the file holds no case; write one JSON object a line")
    return cases


def references(cases: tuple[GateCase, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return turn hash → references: a prompt that stands there more than once accepts any of them."""
    found: dict[str, tuple[str, ...]] = {}
    for case in cases:
        if case.reference is not None and case.reference not in found.get(case.turn_sha256, ()):
            found[case.turn_sha256] = (*found.get(case.turn_sha256, ()), case.reference)
    return found


def text_of(number: int, value: dict[str, Any], name: str) -> str | None:
    """Return an optional text field; `CaseError` if it is something else."""
    found = value.get(name)
    if found is None or isinstance(found, str):
        # half a surrogate pair can be escaped in JSON, and no encoder takes it
        return found.encode(errors="replace").decode() if found is not None else None
    raise CaseError(f"line {number}: {name}: must be a string, not {type(found).__name__}")


def _case(number: int, value: dict[str, Any]) -> GateCase:
    messages, question, key = _turn(number, value)
    reference = value.get("reference")
    if isinstance(reference, int) and not isinstance(reference, bool):
        value = value | {"reference": str(reference)}  # a number is what it looks like
    case_id = value.get("id")
    if isinstance(case_id, int):
        value = value | {"id": str(case_id)}
    return GateCase(
        line=number,
        id=text_of(number, value, "id") or key,
        turn_sha256=key,
        messages=messages,
        question=question,
        reference=text_of(number, value, "reference"),
        intent=text_of(number, value, "intent") or "",
        group=text_of(number, value, "group") or key,
    )


def _turn(number: int, value: dict[str, Any]) -> tuple[tuple[dict[str, Any], ...], str, str]:
    """Return a line's messages, the text of its question and its key."""
    messages, prompt, digest = (
        value.get("messages"),
        text_of(number, value, "prompt"),
        value.get("promptSha256"),
    )
    if messages is not None:
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise CaseError(f"line {number}: messages: must be a list of objects, as in a chat request")
        found = parse(json.dumps({"messages": messages}).encode())
        question = found.text if isinstance(found, Prompt) else ""
        key = text_sha256(question) if question else ""
    elif prompt is not None:
        messages, key, question = [{"role": "user", "content": prompt}], prompt_sha256(prompt), prompt
    elif isinstance(digest, str) and len(digest) == hashlib.sha256().digest_size * 2:
        messages, key, question = [], digest.lower(), ""
    else:
        raise CaseError(f"line {number}: must have prompt, messages, or promptSha256 of 64 hex digits")
    if not key:
        raise CaseError(f"line {number}: has no text in its last user turn; leave the line out")
    return tuple(messages), question, key
