"""The report's drawings and page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.lab.report import chart
from pointsman.lab.report.data import rollouts
from pointsman.lab.report.page import page
from report_kit import POLICY, REVISIONS, report

FINITE = st.floats(-1000, 1000)


@given(FINITE, st.floats(1, 1000))
def test_ticks_are_round_and_within(low: float, width: float) -> None:
    """Between two and eight of them, whatever the range."""
    found = chart.ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


@given(st.floats(0, 100))
def test_a_scale_keeps_order_and_stays_inside(value: float) -> None:
    """What lies beyond the ends is drawn at them."""
    scale = chart.Scale(20, 80, 500, 100)
    assert 100 <= scale(value) <= 500
    assert scale(value) >= scale(value + 1)


def test_recorded_attempts_and_the_one_under_way_are_each_told_once() -> None:
    """The policy's status repeats the newest attempt; the record is what counts."""
    found = rollouts(POLICY, REVISIONS)
    assert [(one.id, one.outcome) for one in found] == [("aaaa0001", "Promoted"), ("bbbb0002", "RolledBack")]


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    """No address, no script, no import."""
    text = page(report())
    assert not re.search(r"<script|https?://|@import|url\(|<link|<img|<iframe", text)
    assert len(text) < 1_000_000


def test_what_the_cluster_says_is_text_and_not_markup() -> None:
    """A revision's words cannot break out of their place."""
    text = page(report(because='<script>alert("x")</script>'))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


class _Checker(HTMLParser):
    """Notes which elements are open, and that each ends where it should."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headers: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "svg":
            self.headers.append(dict(attrs).get("aria-label"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_elements_are_closed_and_every_drawing_has_a_name() -> None:
    """For browsers, and for those who do not see the drawing."""
    checker = _Checker()
    checker.feed(page(report()))
    assert checker.open == []
    assert all(checker.headers)
    assert len(checker.headers) >= 4


@pytest.mark.parametrize("stage", ["Shadow", "Canary"])
def test_a_streams_words_name_samples_drop_interval_and_verdict(stage: str) -> None:
    """The caption alone says what the drawing shows."""
    text = page(report(stage=stage))
    assert (
        f"correct, engineering ({stage.lower()}): drop +28.7 points, interval +9.1 to +44.0, "
        "420 and 138 answers: Fail" in text
    )
