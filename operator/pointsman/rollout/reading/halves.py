"""A revision's own requests in two halves, by window: what its noise is measured from. Pure.

A window counts only where both of its ends could be read: two windows in one would look calmer than one is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pointsman.rollout.evidence import HalfWindow, StreamKey, Tally
from pointsman.rollout.reading.series import RevisionKey, Series, Stream, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_WINDOWS: Final = 672
"""Seven days of the default 15 minutes."""

Four = tuple[int, int, int, int]
"""Passes and fails of half a, then of half b."""
_SLOTS: Final = {("a", "pass"): 0, ("a", "fail"): 1, ("b", "pass"): 2, ("b", "fail"): 3}
_NOTHING: Final = (0, 0, 0, 0)
Halves = dict[Stream, Four]


def halves(series: Iterable[Series]) -> dict[int, dict[RevisionKey, Halves]]:
    """Return the counters by Unix time in ms."""
    sums: dict[int, dict[RevisionKey, dict[Stream, list[int]]]] = {}
    for one in series:
        slot = _SLOTS[one.labels["half"], one.labels["outcome"]]
        key, streams = one.revision, one.streams()
        for at, value in one.points:
            found = sums.setdefault(at, {}).setdefault(key, {})
            for stream in streams:
                found.setdefault(stream, [0, 0, 0, 0])[slot] += whole(value)
    return {
        at: {
            key: {stream: (four[0], four[1], four[2], four[3]) for stream, four in streams.items()}
            for key, streams in revisions.items()
        }
        for at, revisions in sums.items()
    }


class HalvesHistory:
    """The latest windows of one revision."""

    def __init__(self, window_ms: int, keep: int) -> None:
        self.window_ms = window_ms
        self._keep = min(keep, MOST_WINDOWS)
        self._windows: deque[dict[Stream, HalfWindow]] = deque(maxlen=self._keep)
        self._last: Halves | None = None
        self._looked_ms: int | None = None

    def fits(self, window_ms: int, keep: int) -> bool:
        """Tell whether these are the windows that are asked for."""
        return (window_ms, min(keep, MOST_WINDOWS)) == (self.window_ms, self._keep)

    def due(self, newest_ms: int) -> range:
        """Return the aligned times to look at: those before the newest count."""
        latest = (newest_ms - 1) // self.window_ms * self.window_ms
        first = latest - self._keep * self.window_ms
        if self._looked_ms is not None:
            first = max(first, self._looked_ms + self.window_ms)
        return range(first, latest + 1, self.window_ms)

    def cut(self, at_ms: int, now: Halves | None) -> None:
        """Take the counters at an aligned time; None: there were none, or they could not be read."""
        if self._looked_ms is not None and at_ms != self._looked_ms + self.window_ms:
            self._last = None  # the windows between are too old to be kept
        self._looked_ms = at_ms
        before, self._last = self._last, now
        if before is not None and now is not None:
            self._windows.append(_window(before, now))

    def windows(self, versions: Mapping[str, str]) -> dict[StreamKey, tuple[HalfWindow, ...]]:
        """Return the windows of the rubrics' present versions in which both halves have answers, in order."""
        found: dict[StreamKey, list[HalfWindow]] = {}
        for window in self._windows:
            for stream, half in window.items():
                if versions.get(stream.rubric) == stream.version:
                    found.setdefault(StreamKey(stream.rubric, stream.intent), []).append(half)
        return {key: tuple(windows) for key, windows in sorted(found.items())}


def _window(before: Halves, now: Halves) -> dict[Stream, HalfWindow]:
    if any(n < b for stream, four in before.items() for n, b in zip(_at(now, stream), four, strict=True)):
        return {}  # counters went backwards: nothing is known of this window
    found = {}
    for stream, four in now.items():
        ap, af, bp, bf = (n - b for n, b in zip(four, _at(before, stream), strict=True))
        if ap + af and bp + bf:
            found[stream] = HalfWindow(Tally(ap, ap + af), Tally(bp, bp + bf))
    return found


def _at(halves: Halves, stream: Stream) -> Four:
    return halves.get(stream, _NOTHING)
