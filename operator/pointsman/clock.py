"""The only place that reads the wall clock; all else takes a `Clock` (or a `datetime`) as a parameter."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time, aware, in UTC."""


def system_clock() -> datetime:
    """Return the wall clock's time in UTC."""
    return datetime.fromtimestamp(time.time(), tz=UTC)  # noqa: TID251 - this is the one place


def rfc3339(moment: datetime) -> str:
    """Write a time as Kubernetes does: seconds, `Z` (RFC 3339)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
