"""The report in a real browser: what is drawn is what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from browser_kit import FIELDS, measure
from pointsman.lab.report.page import page
from report_kit import REVISIONS, report


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what is seen on a light screen."""
    return measure(page(report()), tmp_path_factory.mktemp("light"))


def test_the_drawn_intervals_are_the_recorded_ones(measured: dict[str, Any]) -> None:
    """Drop, interval and both margins of every stream, read from the drawing, to a tenth of a point."""
    recorded = {
        (attempt["rollout"]["id"], verdict["intent"]): verdict
        for revision in REVISIONS
        for attempt in revision.get("status", {}).get("attempts", [])
        for verdict in attempt["verdicts"]
        if abs(verdict["lowPermille"]) < 1000
    }
    drawn = {(stream["rollout"], stream["intent"]): stream for stream in measured["streams"]}
    for key, verdict in recorded.items():
        for name, field in FIELDS.items():
            assert drawn[key][name] == pytest.approx(verdict[field] / 10, abs=0.1), (key, name)


def test_every_recorded_stream_is_drawn(measured: dict[str, Any]) -> None:
    """Also those that a click opens, and those whose interval is still as wide as can be."""
    assert len(measured["streams"]) == 6


def test_labels_can_be_read(measured: dict[str, Any]) -> None:
    """None lies upon another, and the page is not wider than its window."""
    assert measured["overlap"] == 0
    assert not measured["wide"]


def test_a_dark_screen_gets_a_dark_page(tmp_path: Path) -> None:
    """By the reader's own setting."""
    dark = measure(page(report()), tmp_path, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    assert dark["back"] != "rgb(255, 255, 255)"
