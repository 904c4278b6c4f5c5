"""What an answer off the path came to: the same reading as Envoy's script gives one on the path. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from pointsman.evaluator.guards import FAILING_STATUS

_CONTENT: Final = re.compile(
    rb'"(?:content|text)"\s*:\s*"[^"]|"(?:content|tool_calls)"\s*:\s*\[\s*\{|"function_call"\s*:\s*\{'
)
_REFUSAL: Final = re.compile(rb'"refusal"\s*:\s*"[^"]')
_PROMPT: Final = (
    re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,12})'),
    re.compile(rb'"input_tokens"\s*:\s*(\d{1,12})'),
)
_COMPLETION: Final = (
    re.compile(rb'"completion_tokens"\s*:\s*(\d{1,12})'),
    re.compile(rb'"output_tokens"\s*:\s*(\d{1,12})'),
)
CHARACTERS_A_TOKEN: Final = 4
"""Of English text, roughly: where a stream reports no usage."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came back from Envoy. Never logged."""

    status: int
    content_type: str
    body: bytes
    cut: bool = False
    """It was longer than is read."""
    broken: bool = False
    """It broke off, twice."""

    @property
    def answered(self) -> bool:
        """Whether the tier gave an answer, as the guard rubric means it."""
        if self.broken or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status in FAILING_STATUS:
            return False
        return self.status != HTTPStatus.OK or not self.empty

    @property
    def text_expected(self) -> bool:
        """Whether it is an answer whose text can be scored."""
        return self.answered and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def empty(self) -> bool:
        """Whether it holds neither text nor a tool call nor a refusal; only choices can tell."""
        if not self.body:
            return True
        return b'"choices"' in self.body and not _CONTENT.search(self.body) and not _REFUSAL.search(self.body)

    def tokens(self, sent_bytes: int) -> tuple[int, int]:
        """Return the tokens of prompt and completion as reported last, else estimated from the bytes."""
        at = self.body.rfind(b'"usage"')
        prompt = _last(_PROMPT, self.body, at)
        completion = _last(_COMPLETION, self.body, at)
        if self.status != HTTPStatus.OK:
            return prompt or 0, completion or 0  # a tier charges for no error
        if prompt is None:
            prompt = sent_bytes // CHARACTERS_A_TOKEN
        if completion is None:
            completion = len(self.body) // CHARACTERS_A_TOKEN
        return prompt, completion


def _last(patterns: tuple[re.Pattern[bytes], ...], body: bytes, at: int) -> int | None:
    """Return the number under the first of the names that stands behind the last `usage`."""
    while at >= 0:
        for pattern in patterns:
            found = pattern.search(body, at)
            if found:
                return int(found[1])
        at = body.rfind(b'"usage"', 0, at)  # a stream's last event may say "usage":null
    return None
