"""The key by which a request finds its reference. Pure."""

from __future__ import annotations

import hashlib

from pointsman.triton.backend.request import Prompt, parse


def turn_sha256(body: bytes) -> str:
    """Return the SHA-256 (hex) of the last user turn's text as the classifier reads it; "": there is none.

    To be taken of the body as the client sent it: redaction changes the text, and so the key.
    """
    prompt = parse(body)
    return text_sha256(prompt.text) if isinstance(prompt, Prompt) else ""


def text_sha256(text: str) -> str:
    """Return the key of a text that was read already."""
    return hashlib.sha256(text.encode()).hexdigest()
