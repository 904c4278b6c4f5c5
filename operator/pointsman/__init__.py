"""Pointsman: LLM traffic to the cheapest model that answers well enough, changed only on evidence."""

__version__ = "0.1.0"
