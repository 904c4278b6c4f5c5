"""Pointsman: routes LLM traffic to the cheapest model that answers well enough, and changes that only on evidence."""

__version__ = "0.1.0"
