"""Redaction: what must go, what must stay, and that nothing findable remains."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.evaluator.redact import FINDERS, redact, redact_json

ALL = tuple(FINDERS)

GOES = [
    ("Email", "write to jane.doe+x@mail.example.com!", "write to [email]!"),
    ("Email", "MÜLLER@exämple.de", "[email]"),
    ("Email", "a@b.c@d.example", "[email]@d.example"),
    ("Phone", "call +49 (0)30 123 456-78 now", "call [phone] now"),
    ("Phone", "call (415) 555-0123.", "call [phone]."),
    ("Phone", "415-555-0123", "[phone]"),
    ("Phone", "4155550123", "[phone]"),
    ("Phone", "1 415 555 0123", "[phone]"),
    ("Phone", "ring 020 7946 0958", "ring [phone]"),
    ("Phone", "06 12 34 56 78", "[phone]"),
    ("CreditCard", "card 4111 1111 1111 1111, thanks", "card [card], thanks"),
    ("CreditCard", "4111-1111-1111-1111", "[card]"),
    ("CreditCard", "378282246310005", "[card]"),
    ("CreditCard", "12 4111 1111 1111 1111", "12 [card]"),
    ("IPAddress", "from 192.168.10.254.", "from [ip]."),
    ("IPAddress", "10.0.0.1:8080", "[ip]:8080"),
    ("IPAddress", "at 2001:db8::8a2e:370:7334 too", "at [ip] too"),
    ("IPAddress", "::1", "[ip]"),
    ("IPAddress", "::ffff:10.1.2.3", "[ip]"),
    ("SecretKey", "key=sk-proj-abcDEF0123456789abcd", "key=[secret]"),
    ("SecretKey", "AKIAIOSFODNN7EXAMPLE", "[secret]"),
    ("SecretKey", "Authorization: Bearer abcdefghij0123456789==", "Authorization: [secret]"),
    ("SecretKey", "ghp_abcdefghijklmnopqrst0123456789", "[secret]"),
    (
        "SecretKey",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nx==\n-----END RSA PRIVATE KEY-----\nbye",
        "[secret]\nbye",
    ),
    ("SecretKey", "-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[secret]"),
]

STAYS = [
    ("Email", "a @ b, user@localhost, @handle"),
    ("Phone", "on 2026-11-21 at 12:30, pi is 3.14159265358979, 01/02/2003, order 12345678"),
    ("Phone", "1795300714 and 0.0012345678"),
    ("CreditCard", "4111 1111 1111 1112"),
    ("CreditCard", "12345678901234567890123"),
    ("IPAddress", "version 1.2.3.4.5, 300.1.1.1, std::vector, 12:34:56"),
    ("SecretKey", "sk-short, a task-abcdefghijklmnopqrst, bearer of news"),
]


@pytest.mark.parametrize(("kind", "text", "clean"), GOES)
def test_what_must_go_goes(kind: str, text: str, clean: str) -> None:
    """Each kind's forms are replaced by its name, the text around them stays."""
    assert redact(text, [kind]) == clean


@pytest.mark.parametrize(("kind", "text"), STAYS)
def test_what_only_looks_like_it_stays(kind: str, text: str) -> None:
    """Dates, versions, long numbers and words are not struck out."""
    assert redact(text, [kind]) == text


def test_only_the_kinds_asked_for_go() -> None:
    """A policy that redacts e-mail addresses keeps phone numbers."""
    assert redact("a@b.example 415-555-0123", ["Email"]) == "[email] 415-555-0123"
    assert redact("a@b.example", []) == "a@b.example"


_PIECES = st.sampled_from(
    [text for _, text, _ in GOES]
    + [text for _, text in STAYS]
    + [
        "@",
        ".",
        "-",
        "+",
        " ",
        "0",
        "4",
        "1",
        ":",
        "sk-",
        "Bearer ",
        "AKIA",
        "eyJ",
        "(",
        ")",
        "\n",
        "[email]",
        "x",
        r"\u0040",
        "\\",
        r"\u005cu0040",
    ]
)
_TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789 -.+():@abcdefSKsk_/", max_size=80),
    st.lists(_PIECES, max_size=12).map("".join),
)


@given(_TEXTS, st.sets(st.sampled_from(ALL)))
def test_nothing_findable_remains(text: str, kinds: set[str]) -> None:
    """After redaction no finder of the chosen kinds finds anything, so redacting again changes nothing."""
    clean = redact(text, kinds)
    for kind in kinds:
        assert list(FINDERS[kind][1](clean)) == []
    assert redact(clean, kinds) == clean


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=12,
)


@given(_JSON)
def test_json_keeps_its_shape_and_loses_its_findings(value: Any) -> None:
    """A redacted JSON value can be written as JSON and is left unchanged by a second redaction."""
    clean = redact_json(value, ALL)
    assert redact_json(json.loads(json.dumps(clean)), ALL) == clean


def test_numbers_and_keys_of_json_are_looked_at() -> None:
    """A card number as a JSON number, or an address as a key, goes too; a plain number stays a number."""
    value = {"card": 4111111111111111, "n": 7, "ok": True, "a@b.example": [1.5]}
    assert redact_json(value, ALL) == {"card": "[card]", "n": 7, "ok": True, "[email]": [1.5]}


def test_json_within_a_json_string_is_looked_at() -> None:
    """Escapes do not hide an address in a tool call's arguments; other escapes are left as they are."""
    assert redact_json({"arguments": r'{"to":"a\u0040b.example"}'}, ALL) == {"arguments": '{"to":"[email]"}'}
    assert redact_json({"arguments": r'{"to":"\u0040"}'}, ALL) == {"arguments": r'{"to":"\u0040"}'}


def test_embedded_files_are_left_out() -> None:
    """An image in a prompt may show anything: with redaction on, its bytes are not kept."""
    assert redact_json({"url": "data:image/png;base64,iVBORw0KGgo="}, ["Email"]) == {
        "url": "[file image/png]"
    }
    assert redact_json({"url": "data:image/png;base64,iVBORw0KGgo="}, []) == {
        "url": "data:image/png;base64,iVBORw0KGgo="
    }


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "1",
        "1 ",
        "0 ",
        "1111 ",
        "+1",
        "1:",
        ":",
        "a@",
        "eyJ",
        "-----BEGIN ",
        "sk-",
        "1.",
        "(",
        "(415)555-0123",
        "1.1.1.1+1",
        "+14155550123",
    ],
)
def test_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    """256 KiB of a pattern's own letters are read within a second, not for minutes."""
    text = (piece * 262_144)[:262_144]
    begin = time.process_time()
    redact(text, ALL)
    assert time.process_time() - begin < 2.0
