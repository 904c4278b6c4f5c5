"""The report in a real browser: what is drawn is what the API server said."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pointsman.lab import binaries
from pointsman.lab.report.page import page
from report_kit import REVISIONS, report

# Reads the drawing as an eye does: where a dot is between two grid lines whose values are known.
MEASURE = """
const middle = (e) => { const b = e.getBoundingClientRect(); return (b.top + b.bottom) / 2; };
const streams = [...document.querySelectorAll('figure.stream')].map((figure) => {
  figure.closest('details')?.setAttribute('open', '');
  const grid = [...figure.querySelectorAll('line.grid')];
  const [a, b] = [grid[0], grid[grid.length - 1]];
  const value = (e) => +a.dataset.value
    + (middle(e) - middle(a)) / (middle(b) - middle(a)) * (b.dataset.value - a.dataset.value);
  const read = (name) => value(figure.querySelector('circle.' + name));
  return {...figure.dataset, drop: read('drop'), low: read('low'), high: read('high'),
    fail: value(figure.querySelector('line.fail')), pass: value(figure.querySelector('line.pass'))};
});
const texts = [...document.querySelectorAll('svg text')].map((e) => e.getBoundingClientRect());
const overlap = texts.filter((a, i) => texts.some((b, j) => i < j
  && a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)).length;
const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
const out = document.createElement('pre');
out.id = 'measured';
const back = getComputedStyle(document.body).backgroundColor;
out.textContent = JSON.stringify({streams, overlap, wide, back});
document.body.append(out);
"""


def _measured(folder: Path, *flags: str) -> dict[str, Any]:
    """Open the page in headless Chromium and return what the script saw."""
    file = folder / "report.html"
    file.write_text(page(report()).replace("</body>", f"<script>{MEASURE}</script></body>"), "utf-8")
    command = [
        str(binaries.ensure("chromium")),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1200,900",
        *flags,
        "--dump-dom",
        file.as_uri(),
    ]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    found = re.search(r'<pre id="measured">(.*?)</pre>', dumped, re.DOTALL)
    assert found is not None, dumped[:2000]
    measured: dict[str, Any] = json.loads(unescape(found.group(1)))
    return measured


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what is seen on a light screen."""
    return _measured(tmp_path_factory.mktemp("light"))


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
        for name, field in (
            ("drop", "dropPermille"),
            ("low", "lowPermille"),
            ("high", "highPermille"),
            ("fail", "failBeyondPermille"),
            ("pass", "passWithinPermille"),
        ):
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
    assert _measured(tmp_path, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")["back"] != (
        "rgb(255, 255, 255)"
    )
