"""The API: what a user writes and what the operator says back. Types only; no I/O."""
