"""Times in a status: RFC 3339 with microseconds, and Unix seconds beside them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(when: datetime) -> str:
    """Write a time for a status, to the microsecond: evidence is cut at it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(unix_s: float) -> str:
    """Write a Unix time for a status."""
    return moment(datetime.fromtimestamp(unix_s, tz=UTC))


def unix(text: str) -> float:
    """Return the Unix time of an RFC 3339 time, with or without microseconds."""
    return datetime.fromisoformat(text).timestamp()


def clock_time(unix_s: float) -> str:
    """Write a Unix time for people: 12:15:00 UTC, with the day where it is told at all."""
    return datetime.fromtimestamp(unix_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
