"""The key of a reference is of the text that the classifier reads."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pointsman.evaluator.turns import turn_sha256
from pointsman.gate.cases import prompt_sha256, read_cases
from pointsman.triton.backend.request import MAX_CHARACTERS


def body(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": messages, **more}).encode()


USER = {"role": "user", "content": " What is 2 + 2? "}


def test_it_is_the_hash_of_the_last_user_turn() -> None:
    """White space around it, other turns, tools and forms of content do not count."""
    key = hashlib.sha256(b"What is 2 + 2?").hexdigest()
    parts = {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]}
    system, said = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "4"}
    for sent in (body(USER), body(system, USER, temperature=1), body(parts), body(USER, said)):
        assert turn_sha256(sent) == key
    assert prompt_sha256("What is 2 + 2?") == key
    assert turn_sha256(json.dumps({"input": "What is 2 + 2?"}).encode()) == key


def test_what_has_no_text_has_no_key() -> None:
    """Neither JSON nor a turn: no reference is found by accident."""
    assert [turn_sha256(sent) for sent in (b"", b"{", b"{}", body())] == [""] * 4


def test_long_and_broken_texts_have_the_same_key_on_both_sides() -> None:
    """A data set's prompt and a request's are read by the same function."""
    for text in ("x" * MAX_CHARACTERS + "y" * MAX_CHARACTERS, "half a pair \ud83d", "ü ß"):
        assert turn_sha256(body({"role": "user", "content": text})) == prompt_sha256(text) != ""


def test_a_case_has_the_key_of_its_messages_or_its_hash() -> None:
    """Prompt, messages and hash of one question are the same case."""
    lines = [
        {"prompt": "What is 2 + 2?"},
        {"messages": [USER]},
        {"promptSha256": prompt_sha256("What is 2 + 2?")},
    ]
    cases = read_cases("\n".join(map(json.dumps, lines)).encode())
    assert len({case.turn_sha256 for case in cases}) == 1
    assert [case.question for case in cases] == ["What is 2 + 2?", "What is 2 + 2?", ""]
    assert len({case.group for case in cases}) == 1
