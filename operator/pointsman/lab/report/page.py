"""The report's page: HTML with its style and drawings inside, nothing fetched, no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from pointsman.lab.report import chart
from pointsman.lab.report.chart import Frame, tag
from pointsman.lab.report.data import Line, Point, Report, Rollout, Verdict
from pointsman.lab.report.style import STYLE

_OPEN_STREAMS: Final = 4
"""Charts that are shown at once; the others open at a click."""
_LEAST_RANGE: Final = 60.0


def page(report: Report) -> str:
    """Return the whole page."""
    title = f"Rollouts of {report.policy}"
    body = "".join(
        (
            tag("h1", escape(title)),
            tag("p", escape(_summary(report))),
            tag("h2", "Rollouts"),
            _rollouts(report),
            tag("h2", "Weights"),
            _weights(report),
            tag("h2", "Evidence"),
            _explanation(),
            *(_evidence(report, number, rollout) for number, rollout in enumerate(report.rollouts, 1)),
            tag("h2", "Cost"),
            _plain(report, "US dollars per 1,000 requests", report.cost),
            tag("h2", "Latency"),
            _plain(report, "Seconds", report.latency),
            tag("h2", "Events"),
            _events(report),
        )
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        + tag("title", escape(title))
        + tag("style", STYLE)
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{tag("main", body)}</body></html>\n'


def _summary(report: Report) -> str:
    in_force = report.stable or "always-strong (all traffic to the last tier)"
    saved = f"; it saves {report.saved}" if report.saved else ""
    count = len(report.rollouts)
    tried = f"{count} rollout{'' if count == 1 else 's'}"
    return f"In force: {in_force}{saved}. {tried}. Written {_time(report.written_at)}."


def _rollouts(report: Report) -> str:
    rows = [
        [
            tag("td", str(number)),
            tag("td", tag("code", escape(rollout.candidate))),
            tag("td", tag("code", escape(rollout.incumbent))),
            tag("td", escape(rollout.outcome or "under way"), class_=_colour(rollout)),
            tag("td", f"{(rollout.ended or report.written_at) - rollout.began:.0f} s", class_="n"),
            tag("td", escape(rollout.because), class_="dim"),
        ]
        for number, rollout in enumerate(report.rollouts, 1)
    ]
    return _table(["", "candidate", "incumbent", "ended", "took", "because"], rows)


def _colour(rollout: Rollout) -> str:
    return {"Promoted": "good", "": "", "Superseded": ""}.get(rollout.outcome, "bad")


def _weights(report: Report) -> str:
    frame = Frame(report.span, (0, 100), " %", height=190)
    shares = {
        revision: tuple(Point(point.at, point.value / 10) for point in line)
        for revision, line in _whole(report).items()
    }
    drawn = chart.lines(
        "Share of the traffic by revision, in percent",
        "Each line is one revision's weight over time.",
        frame,
        shares,
        stepped=True,
    )
    marks = "".join(
        chart.mark(frame, rollout.began, str(number)) for number, rollout in enumerate(report.rollouts, 1)
    )
    return drawn.replace("</svg>", f"{marks}</svg>")


def _whole(report: Report) -> dict[str, Line]:
    """Return each revision's weight; before and after it had traffic, it had none."""
    moments = sorted({point.at for line in report.weights.values() for point in line})
    whole = {}
    for revision, line in report.weights.items():
        known = dict(line)
        whole[revision] = tuple(Point(at, known.get(at, 0.0)) for at in moments)
    return whole


def _explanation() -> str:
    return tag(
        "p",
        "Each chart is one rubric, overall or in one intent: the drop of its pass rate from incumbent to "
        "candidate, in points, measured (line) and as the interval that holds at every look (band). A band "
        "wholly above the red margin fails; one wholly below the green margin passes. The dots are the last "
        "word: the numbers of the revision's record.",
        class_="dim",
    )


def _evidence(report: Report, number: int, rollout: Rollout) -> str:
    heading = tag(
        "h3", f"{number}. {tag('code', escape(rollout.candidate))}: {escape(rollout.outcome or 'under way')}"
    )
    if not rollout.verdicts:
        return heading + tag("p", "No verdict was recorded.", class_="dim")
    charts = [_stream(report, rollout, verdict) for verdict in rollout.verdicts]
    shown, more = charts[:_OPEN_STREAMS], charts[_OPEN_STREAMS:]
    hidden = tag("details", tag("summary", f"{len(more)} more") + "".join(more)) if more else ""
    return heading + _verdicts(rollout.verdicts) + "".join(shown) + hidden


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [
            tag("td", escape(verdict.key.rubric)),
            tag("td", escape(verdict.key.intent or "all")),
            tag("td", escape(verdict.key.stage)),
            tag("td", f"{verdict.incumbent:,}", class_="n"),
            tag("td", f"{verdict.candidate:,}", class_="n"),
            *(
                tag("td", _points(value), class_="n")
                for value in (
                    verdict.drop,
                    verdict.low,
                    verdict.high,
                    verdict.fail_beyond,
                    verdict.pass_within,
                )
            ),
            tag("td", escape(verdict.verdict), class_=verdict.verdict),
        ]
        for verdict in verdicts
    ]
    names = [
        "rubric",
        "intent",
        "stage",
        "incumbent",
        "candidate",
        "drop",
        "low",
        "high",
        "fails beyond",
        "passes within",
    ]
    return tag(
        "details",
        tag("summary", "Numbers") + _table([*names, "verdict"], rows),
        class_="numbers",
    )


def _stream(report: Report, rollout: Rollout, verdict: Verdict) -> str:
    key = verdict.key
    ended = rollout.ended or report.written_at
    last = {
        "drop": verdict.drop,
        "low": verdict.low,
        "high": verdict.high,
    }
    found = report.streams.get(key, {})
    lines = {
        name: (*(p for p in found.get(name, ()) if rollout.began <= p.at < ended), Point(ended, float(value)))
        for name, value in last.items()
    }
    points = {name: tuple(Point(at, value / 10) for at, value in line) for name, line in lines.items()}
    frame = Frame((rollout.began, max(ended, rollout.began + 1)), _range(verdict), "")
    body = "".join(
        (
            chart.band(frame, points["low"], points["high"]),
            chart.line(frame, points["drop"], "c0"),
            chart.whisker(frame, ended, verdict.low / 10, verdict.high / 10),
            chart.level(frame, verdict.fail_beyond / 10, "fail", "fails beyond", aside=0),
            chart.level(frame, verdict.pass_within / 10, "pass", "passes within", aside=0.5),
            *(chart.end(frame, points[name], name) for name in last),
        )
    )
    title = f"{key.rubric}, {key.intent or 'all intents'} ({key.stage.lower()})"
    words = (
        f"{title}: drop {_points(verdict.drop)} points, "
        f"interval {_points(verdict.low)} to {_points(verdict.high)}, "
        f"{verdict.incumbent:,} and {verdict.candidate:,} answers: {verdict.verdict}"
    )
    caption = tag("figcaption", escape(words))
    return tag(
        "figure",
        caption + chart.svg(frame, body, title, words),
        class_="stream",
        data_rollout=key.rollout,
        data_stage=key.stage,
        data_rubric=key.rubric,
        data_intent=key.intent,
    )


def _range(verdict: Verdict) -> tuple[float, float]:
    """Return the values, in points, that a stream's chart has room for: what decided, and both margins.

    An interval that is still as wide as can be is drawn to the edge.
    """
    values = [verdict.drop, verdict.fail_beyond, verdict.pass_within, 0.0]
    values += [value for value in (verdict.low, verdict.high) if abs(value) < 1000]  # noqa: PLR2004 - permille
    room = max((max(values) - min(values)) * 0.15, _LEAST_RANGE / 2)
    return (min(values) - room) / 10, (max(values) + room) / 10


def _plain(report: Report, unit: str, lines: dict[str, Line] | object) -> str:
    drawn: dict[str, Line] = dict(lines) if isinstance(lines, dict) else {}
    if not any(drawn.values()):
        return tag("p", "Prometheus has no numbers for this span.", class_="dim")
    most = max(point.value for line in drawn.values() for point in line)
    frame = Frame(report.span, (0, most * 1.1 or 1.0), height=170)
    return tag("p", unit, class_="dim") + chart.lines(unit, f"{unit} over time", frame, drawn)


def _events(report: Report) -> str:
    began = report.span[0]
    rows = [
        [
            tag("td", f"{event.at - began:+.1f} s", class_="n"),
            tag("td", escape(event.reason), class_="bad" if event.kind == "Warning" else ""),
            tag("td", escape(event.note), class_="dim"),
        ]
        for event in report.events
    ]
    return _table(["at", "event", "what it says"], rows)


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tag("tr", "".join(tag("th", escape(name), scope="col") for name in names))
    return tag("table", tag("thead", head) + tag("tbody", "".join(tag("tr", "".join(row)) for row in rows)))


def _points(permille: float) -> str:
    return f"{permille / 10:+.1f}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
