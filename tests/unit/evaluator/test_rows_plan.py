"""What a batch asks of the store stays cheap however much is stored."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from pointsman.evaluator.rows import FORGOTTEN
from pointsman.evaluator.store.sqlite import migrate

if TYPE_CHECKING:
    from pathlib import Path


def test_a_text_is_matched_to_its_request_by_request_id(tmp_path: Path) -> None:
    """The look for a forgotten request goes by its id, not through every request of the policy."""
    db = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    migrate(db)
    (step,) = db.execute(f"EXPLAIN QUERY PLAN {FORGOTTEN}", ("id", "policy")).fetchall()
    db.close()
    assert "(request_id=?)" in step[3]
