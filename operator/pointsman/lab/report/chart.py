"""Line charts as SVG text. Pure.

What a chart draws can be read back from it: grid lines carry their value in `data-value`, the last point of
a line its value, too. Colours come from the page's style sheet (classes `c0` … `c7`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from pointsman.lab.report.data import Line, Point

WIDTH: Final = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 10, 24
COLOURS: Final = 8
_MINUTE_S: Final = 60


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; `_` in names becomes `-`, a trailing one is dropped (`class_`)."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{shown}>{content}</{name}>"


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels, along one direction."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; values beyond the ends are drawn at them."""
        inside = min(max(value, self.low), self.high)
        return self.first + (inside - self.low) / (self.high - self.low) * (self.last - self.first)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values within a range, about so many."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * nice for nice in (1, 2, 5, 10) if size * nice >= raw)
    return [step * at for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a chart that all have: its axes. `unit` stands behind the values on the left."""

    span: tuple[float, float]
    values: tuple[float, float]
    unit: str = ""
    height: int = 150

    @property
    def x(self) -> Scale:
        """Time to pixels."""
        return Scale(*self.span, _LEFT, WIDTH - _RIGHT)

    @property
    def y(self) -> Scale:
        """Values to pixels: up is more."""
        return Scale(*self.values, self.height - _BOTTOM, _TOP)

    def grid(self) -> str:
        """Return lines and labels of both axes."""
        x, y = self.x, self.y
        parts = []
        for value in ticks(*self.values):
            at = y(value)
            parts.append(
                tag("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at, data_value=f"{value:g}")
            )
            parts.append(tag("text", f"{value:g}{self.unit}", class_="y", x=_LEFT - 6, y=at + 4))
        began, ended = self.span
        for seconds in _moments(ended - began):
            at = x(began + seconds)
            parts.append(tag("text", _clock(seconds), class_="x", x=at, y=self.height - 6))
        return "".join(parts)


def _moments(seconds: float) -> Iterable[float]:
    """Return round times since the begin."""
    step = next(
        (size for size in (10, 30, 60, 120, 300, 600, 1800, 3600) if seconds / size <= 8),  # noqa: PLR2004 - labels that fit
        math.ceil(seconds / 8 / 3600) * 3600,
    )
    return range(0, int(seconds) + 1, step)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def svg(frame: Frame, body: str, title: str, description: str) -> str:
    """Return the whole drawing; title and description are for those who do not see it."""
    texts = tag("title", escape(title)) + tag("desc", escape(description))
    return tag(
        "svg",
        texts + frame.grid() + body,
        viewBox=f"0 0 {WIDTH} {frame.height}",
        role="img",
        aria_label=title,
    )


def line(frame: Frame, points: Sequence[Point], css: str, *, stepped: bool = False) -> str:
    """Return a line through the points; `stepped`: each value holds until the next."""
    if not points:
        return ""
    x, y = frame.x, frame.y
    parts = [f"M{x(points[0].at):.2f} {y(points[0].value):.2f}"]
    for point in points[1:]:
        at = f"{x(point.at):.2f}"
        parts.append(f"H{at}V{y(point.value):.2f}" if stepped else f"L{at} {y(point.value):.2f}")
    return tag("path", d="".join(parts), class_=f"line {css}")


def band(frame: Frame, low: Sequence[Point], high: Sequence[Point]) -> str:
    """Return the area between two lines."""
    if not low or not high:
        return ""
    x, y = frame.x, frame.y
    corners = [*high, *reversed(low)]
    return tag(
        "polygon",
        points=" ".join(f"{x(point.at):.2f},{y(point.value):.2f}" for point in corners),
        class_="band",
    )


def end(frame: Frame, points: Sequence[Point], name: str) -> str:
    """Return a dot at the last point that says what its value is."""
    if not points:
        return ""
    last = points[-1]
    return tag(
        "circle",
        tag("title", f"{name} {last.value:g}"),
        cx=frame.x(last.at),
        cy=frame.y(last.value),
        r=2.5,
        class_=f"end {name}",
        data_value=f"{last.value:g}",
    )


def whisker(frame: Frame, at: float, low: float, high: float) -> str:
    """Return an upright line from one value to another at a time."""
    x = frame.x(at)
    return tag("line", class_="whisker", x1=x, x2=x, y1=frame.y(low), y2=frame.y(high))


def level(frame: Frame, value: float, css: str, label: str, *, aside: float) -> str:
    """Return a dashed line across and its label above it, which begins `aside` (0..1) of the way."""
    at = frame.y(value)
    drawn = tag("line", class_=f"margin {css}", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at)
    return drawn + tag(
        "text",
        escape(label),
        class_=f"margin {css}",
        x=_LEFT + aside * (WIDTH - _LEFT - _RIGHT) + 4,
        y=at - 3,
    )


def mark(frame: Frame, at: float, label: str) -> str:
    """Return a thin upright line at a time, with its label beside its top."""
    x = frame.x(at)
    drawn = tag("line", class_="mark", x1=x, x2=x, y1=_TOP, y2=frame.height - _BOTTOM)
    return drawn + (tag("text", escape(label), class_="mark", x=x + 3, y=_TOP + 9) if label else "")


def lines(
    title: str, description: str, frame: Frame, drawn: Mapping[str, Line], *, stepped: bool = False
) -> str:
    """Return a chart of several lines with a legend under it."""
    body = "".join(
        line(frame, points, f"c{at % COLOURS}", stepped=stepped) + end(frame, points, "last")
        for at, points in enumerate(drawn.values())
    )
    legend = "".join(
        tag("li", tag("span", "", class_=f"key c{at % COLOURS}") + escape(name))
        for at, name in enumerate(drawn)
    )
    return tag("figure", svg(frame, body, title, description) + tag("ul", legend, class_="legend"))
