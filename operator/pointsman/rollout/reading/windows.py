"""One rollout's counts cut into windows: at aligned times, and at every step. Pure.

The counters only grow, so what a window holds is the difference of two looks at them, and all windows
together hold exactly what the counters say now: a cut that cannot be read only makes one window of two. A
step's counters are its own (label `step`): what is scored after its end belongs to its last window, which
therefore stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pointsman.rollout.evidence import StreamKey, Window
from pointsman.rollout.reading.results import Cell, Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.rollout.reading.results import Cells
    from pointsman.rollout.reading.series import Stream

MOST_CUTS: Final = 720
"""Beyond these a rollout's windows are joined, two, four, … to one: memory and time stay bounded."""
_NOTHING: Final = Counts()


def stride_ms(window_ms: int, begun_ms: int, now_ms: int) -> int:
    """Return the distance of the cuts: the window, doubled until there are no more than `MOST_CUTS`."""
    stride = window_ms
    while (now_ms - begun_ms) // stride > MOST_CUTS:
        stride *= 2
    return stride


class WentBackwardsError(ValueError):
    """A counter is smaller than it was: what was counted is lost, so nothing can be concluded."""


class History:
    """The windows of one rollout that are closed; `windows` adds the open ones."""

    def __init__(self, stride_ms: int, steps: tuple[tuple[int, float], ...]) -> None:
        """Begin with no cut. `steps`: (index, Unix time of its begin), in order."""
        self.stride_ms = stride_ms
        self.steps = steps
        first = round(steps[0][1] * 1000) if steps else 0
        self.looked_ms = first - first % stride_ms
        """The last aligned time that was looked at."""
        self._cuts: dict[int, tuple[int, Cells]] = {}
        """By step: its last cut (ms), and its counters there."""
        self._closed: dict[Stream, dict[int, list[Window]]] = {}

    def extends_to(self, steps: tuple[tuple[int, float], ...]) -> bool:
        """Tell whether these steps only add to the known ones."""
        return steps[: len(self.steps)] == self.steps

    def due(self, newest_ms: int) -> range:
        """Return the aligned times to look at: those before the newest count, which stay as they are."""
        return range(self.looked_ms + self.stride_ms, newest_ms, self.stride_ms)

    def cut(self, at_ms: int, cells: Cells | None) -> None:
        """Take the counters at an aligned time; None: they could not be read then."""
        self.looked_ms = at_ms
        step = self._step_at(at_ms)
        if cells is None or step is None:
            return
        began_ms, before = self._cuts.get(step, (self._begin_ms(step), {}))
        here = {cell: counts for cell, counts in cells.items() if cell.step == step}
        if not _grew(before, here):
            return
        for cell, counts in here.items():
            grown = counts.since(before.get(cell, _NOTHING))
            if any(grown):
                by_step = self._closed.setdefault(cell.stream, {})
                by_step.setdefault(step, []).append(_window(step, began_ms, grown))
        self._cuts[step] = (at_ms, here)

    def windows(self, now: Cells, versions: Mapping[str, str]) -> dict[StreamKey, tuple[Window, ...]]:
        """Return all windows of the rubrics' present versions, in order. `WentBackwardsError`."""
        for _, before in self._cuts.values():
            if not _grew(before, now):
                raise WentBackwardsError
        streams = {cell.stream for cell in now} | self._closed.keys()
        found: dict[StreamKey, tuple[Window, ...]] = {}
        for stream in sorted(streams):
            if versions.get(stream.rubric) != stream.version:
                continue
            closed, windows = self._closed.get(stream, {}), list[Window]()
            for step, _ in self.steps:
                windows += closed.get(step, ())
                cell = Cell(step, stream)
                began_ms, before = self._cuts.get(step, (self._begin_ms(step), {}))
                rest = now.get(cell, _NOTHING).since(before.get(cell, _NOTHING))
                if any(rest):
                    windows.append(_window(step, began_ms, rest))
            if windows:
                found[StreamKey(stream.rubric, stream.intent)] = tuple(windows)
        return found

    def _step_at(self, at_ms: int) -> int | None:
        """Return the step within which a time lies; None: before the first, or right where one begins."""
        found = None
        for step, begin_s in self.steps:
            if round(begin_s * 1000) == at_ms:
                return None
            if round(begin_s * 1000) < at_ms:
                found = step
        return found

    def _begin_ms(self, step: int) -> int:
        return next(round(begin_s * 1000) for index, begin_s in self.steps if index == step)


def _grew(before: Cells, after: Cells) -> bool:
    return all(min(after.get(cell, _NOTHING).since(counts)) >= 0 for cell, counts in before.items())


def _window(step: int, began_ms: int, counts: Counts) -> Window:
    return Window(step, began_ms / 1000, counts.incumbent, counts.candidate)
