"""The models that the lab's replay tiers play, cheap to strong."""

from __future__ import annotations

from typing import Final

SMALL_MODEL: Final = "Llama-3.1-8B-Instruct"
CHEAP_MODEL: Final = "gemini-1.5-flash-002"
STRONG_MODEL: Final = "gemini-1.5-pro-002"
MODELS: Final = (SMALL_MODEL, CHEAP_MODEL, STRONG_MODEL)
