"""Counters in Prometheus's text format, with each series' name and labels written once and kept.

The client library writes them anew at every scrape, which for thousands of series is most of our work.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.evidence import ALL_FAMILIES
from pointsman.evaluator.totals import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pointsman.evaluator.totals import Family

OF_OTHERS: Final = "taken_over"
"""Label of counts that an evaluator has taken over from dead ones; new whenever it takes over more."""


class Exposition:
    """The series that are known, and how each begins its line."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[Series, str]] = {name: {} for name in ALL_FAMILIES}
        self._rows: dict[str, dict[tuple[str, ...], list[str]]] = defaultdict(dict)
        """Of histograms: labels → the beginnings of its lines."""
        self._settled: dict[str, str] = {}
        """Of each family: whole lines, of series that count no more."""

    def know(self, series: Iterable[Series]) -> None:
        """Take in series; known ones stay as they are."""
        for one in series:
            family = ALL_FAMILIES[one.family]
            if family.kind == "histogram":
                rows = self._rows[one.family]
                if one.labels not in rows:
                    rows[one.labels] = _histogram_lines(family, one.labels)
            elif one not in self._lines[one.family]:
                self._lines[one.family][one] = f"{one.family}{_braced(family.labels, one.labels)} "

    def forget(self, series: Series) -> None:
        """Leave a series out from now on; of a histogram the whole row."""
        self._lines[series.family].pop(series, None)
        self._rows[series.family].pop(series.labels, None)

    def settle(self, label: str, counts: Mapping[Series, int]) -> None:
        """Show what others have counted and nobody adds to, told apart by the label `taken_over`."""
        apart = f'{OF_OTHERS}="{_escaped(label)}"'
        other = Exposition()
        other.know(counts)
        self._settled = {
            name: "".join(f"{_labelled(line, apart)}\n" for line in other.samples(name, counts.__getitem__))
            for name in ALL_FAMILIES
        }

    def render(self, value: Callable[[Series], int]) -> bytes:
        """Return every family; `value` is asked for each series, in stored units."""
        parts: list[str] = []
        for name, family in ALL_FAMILIES.items():
            parts.append(f"# HELP {name} {_escaped_help(family.help)}\n# TYPE {name} {family.kind}\n")
            parts += [f"{line}\n" for line in self.samples(name, value)]
            parts.append(self._settled.get(name, ""))
        return "".join(parts).encode()

    def samples(self, name: str, value: Callable[[Series], int]) -> Iterator[str]:
        """Yield a family's lines."""
        family = ALL_FAMILIES[name]
        if family.kind == "histogram":
            for labels, lines in self._rows[name].items():
                yield from _histogram(family, labels, lines, value)
        else:
            unit = family.unit
            for one, line in self._lines[name].items():
                yield f"{line}{value(one) / unit}"


def _labelled(sample: str, label: str) -> str:
    """Return a sample with one label more."""
    name, _, number = sample.rpartition(" ")
    return f"{name[:-1]},{label}}} {number}" if name.endswith("}") else f"{name}{{{label}}} {number}"


def _histogram_lines(family: Family, labels: tuple[str, ...]) -> list[str]:
    bounds = [repr(bound / family.unit) for bound in family.bounds] + ["+Inf"]
    buckets = [
        f"{family.name}_bucket{_braced((*family.labels, 'le'), (*labels, bound))} " for bound in bounds
    ]
    braced = _braced(family.labels, labels)
    return [*buckets, f"{family.name}_count{braced} ", f"{family.name}_sum{braced} "]


def _histogram(
    family: Family, labels: tuple[str, ...], lines: list[str], value: Callable[[Series], int]
) -> list[str]:
    *buckets, count, total = lines
    running, parts = 0, []
    for index, line in enumerate(buckets):
        running += value(Series(family.name, labels, str(index)))
        parts.append(f"{line}{float(running)}")
    parts.append(f"{count}{float(running)}")
    parts.append(f"{total}{value(Series(family.name, labels, 'sum')) / family.unit}")
    return parts


def _braced(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
