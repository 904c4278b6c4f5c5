"""Strikes personal data and secrets out of text before anything is stored. Pure.

Patterns, not understanding: what is written in words, or split by other text, stays. Each pattern reads a
text once (no nested repetition), so a hostile text costs no more than its length.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Span = tuple[int, int]
"""Start and end of what must go."""

TAIL: Final = 64
"""Characters cut from the end of a truncated text: a pattern may have begun there and not be recognisable."""

ROUNDS: Final = 16
WITHHELD: Final = "[withheld]"
"""Stands for a text in which findings uncover findings for longer than that: made to be slow, so not kept."""

_EMAIL: Final = re.compile(r"(?<![\w.+%-])[\w.+%-]+@[^\W_](?:[\w-]*[^\W_])?(?:\.[^\W_](?:[\w-]*[^\W_])?)+")

_PHONE: Final = re.compile(
    r"(?:(?<![\w+.])|(?=[(+]))(?:"
    r"(?P<international>\+\d(?:[ ().-]{0,3}\d){7,14})"
    r"|(?P<national>\(?0\d(?:[ ().-]{0,2}\d){7,12})"
    r"|(?P<american>(?:1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-]?)\d{3}[ .-]?\d{4})"
    r")(?![\w.]?\d)(?!\w)"
)
_NATIONAL_DIGITS: Final = 9

_CARD_RUN: Final = re.compile(r"(?<![\d.])\d{3,}(?:[ -]\d{3,})*(?!\d)")
_CARD_DIGITS: Final = range(13, 20)

_IPV4: Final = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)"
)
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?=[\dA-Fa-f]*:[\dA-Fa-f:]*:)[\dA-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}(?![\w:]|\.\d)"
)

_SECRET: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|hf_[A-Za-z0-9]{20,}|AIza[\w-]{35}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"
    r"|[Bb][Ee][Aa][Rr][Ee][Rr][ \t]+[A-Za-z0-9._~+/-]{16,}=*"
    r")",
    re.DOTALL,
)

_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_DATA_URL: Final = re.compile(r"data:([\w.+-]{1,64}/[\w.+-]{1,64})?[\w.+=;-]{0,128};base64,[\w+/=\s-]*")


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (found.span() for found in pattern.finditer(text))


def _phones(text: str) -> Iterator[Span]:
    for found in _PHONE.finditer(text):
        national = found["national"]
        if national is None or sum(c.isdigit() for c in national) >= _NATIONAL_DIGITS:
            yield found.span()


def _luhn(digits: str) -> bool:
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(d), 10)) for d in even)) % 10 == 0


def _cards(text: str) -> Iterator[Span]:
    """Find card numbers in runs of digit groups: `123 4111 1111 1111 1111` holds one from its second on."""
    for run in _CARD_RUN.finditer(text):
        groups = [(m.start() + run.start(), m.group()) for m in re.finditer(r"\d+", run.group())]
        first = 0
        while first < len(groups):
            last = _card_from(groups, first)
            if last is None:
                first += 1
            else:
                yield groups[first][0], groups[last][0] + len(groups[last][1])
                first = last + 1


def _card_from(groups: list[tuple[int, str]], first: int) -> int | None:
    """Return the last group of the longest card number that begins with group `first`."""
    digits, found = "", None
    for index in range(first, len(groups)):
        digits += groups[index][1]
        if len(digits) >= _CARD_DIGITS.stop:
            break
        if len(digits) in _CARD_DIGITS and _luhn(digits):
            found = index
    return found


def _addresses(text: str) -> Iterator[Span]:
    yield from _matches(_IPV4, text)
    for found in _IPV6.finditer(text):
        try:
            ipaddress.IPv6Address(found.group())
        except ValueError:
            continue
        yield found.span()


FINDERS: Final[Mapping[str, tuple[str, Callable[[str], Iterator[Span]]]]] = {
    # Secrets first: a key may hold what looks like a number. Addresses before the numbers they are made of.
    "SecretKey": ("[secret]", partial(_matches, _SECRET)),
    "Email": ("[email]", partial(_matches, _EMAIL)),
    "IPAddress": ("[ip]", _addresses),
    "CreditCard": ("[card]", _cards),
    "Phone": ("[phone]", _phones),
}
"""Kind (as in `spec.evaluation.capture.redact`): what stands in its place, and how it is found."""


def redact(text: str, kinds: Iterable[str]) -> str:
    """Return `text` with every finding of `kinds` replaced. Idempotent: nothing that is found remains."""
    wanted = frozenset(kinds)
    chosen = [rule for kind, rule in FINDERS.items() if kind in wanted]
    for _ in range(ROUNDS):  # what stood beside a finding may be one now
        before = text
        for place, find in chosen:
            text = _replaced(text, place, find)
        if text == before:
            return text
    return WITHHELD


def redact_json(value: Any, kinds: Iterable[str]) -> Any:
    """Return a JSON value with strings, keys and numbers redacted; embedded files are left out, unread."""
    wanted = frozenset(kinds)
    if not wanted:
        return value
    match value:
        case str():
            embedded = _DATA_URL.fullmatch(value)
            return f"[file {embedded[1] or ''}]" if embedded else _redact_string(value, wanted)
        case dict():
            return {redact(key, wanted): redact_json(item, wanted) for key, item in value.items()}
        case list():
            return [redact_json(item, wanted) for item in value]
        case int() | float() if not isinstance(value, bool):
            written = str(value)
            clean = redact(written, wanted)
            return value if clean == written else clean
    return value


def unescaped(text: str) -> str:
    r"""Undo JSON's escapes in text that is not JSON as a whole: `a\u0040b.example` is an address too."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), text)


def _redact_string(text: str, kinds: frozenset[str]) -> str:
    """Redact a JSON string; one that holds JSON itself (a tool call's arguments) is read without escapes."""
    for _ in range(ROUNDS):
        text = redact(text, kinds)
        plain = unescaped(text)
        if plain == text or redact(plain, kinds) == plain:
            return text
        text = plain
    return WITHHELD


def without_tail(text: str, kinds: Iterable[str]) -> str:
    """Return a truncated text without its last characters, where half a pattern may stand."""
    return text[:-TAIL] if frozenset(kinds) else text


def _replaced(text: str, place: str, find: Callable[[str], Iterator[Span]]) -> str:
    parts, done = [], 0
    for start, end in sorted(find(text)):
        if start >= done:
            parts += [text[done:start], place]
            done = end
    return "".join(parts) + text[done:] if parts else text
