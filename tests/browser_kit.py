"""A report in headless Chromium, and what is seen there."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

from pointsman.lab import binaries

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
    fail: value(figure.querySelector('line.fail')), pass: value(figure.querySelector('line.pass')),
    moves: figure.querySelector('path.line')?.getTotalLength() ?? 0};
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


def measure(html: str, folder: Path, *flags: str) -> dict[str, Any]:
    """Open the page and return what a script saw in it: streams in points, labels that overlap, colours."""
    file = folder / "report.html"
    file.write_text(html.replace("</body>", f"<script>{MEASURE}</script></body>"), "utf-8")
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


FIELDS = {
    "drop": "dropPermille",
    "low": "lowPermille",
    "high": "highPermille",
    "fail": "failBeyondPermille",
    "pass": "passWithinPermille",
}
"""What is measured, and the field of the status that it must equal."""
