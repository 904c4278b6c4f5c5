"""One JSON line an event."""

from __future__ import annotations

import json
import logging

from pointsman.logs import JsonFormatter


def _line(record: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter("xds").format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_record_is_one_line_with_its_extra_data() -> None:
    """Whatever the message holds."""
    record = logging.makeLogRecord(
        {"msg": "two\n%s", "args": ("lines",), "levelname": "WARNING", "policy": "a/b"}
    )
    line = _line(record)
    assert (line["message"], line["level"], line["component"], line["policy"]) == (
        "two\nlines",
        "warn",
        "xds",
        "a/b",
    )
    assert str(line["time"]).endswith("Z")


def test_objects_that_libraries_attach_are_left_out() -> None:
    """Their repr may hold anything."""
    assert "settings" not in _line(logging.makeLogRecord({"msg": "x", "settings": object()}))
