"""The evaluator's commands."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from click.testing import CliRunner

from evaluator_builders import POLICY, capture, measures, record
from pointsman.cli.evaluator import command
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.rows import Batch
from pointsman.evaluator.store import Store


def filled(tmp_path: Path) -> Path:
    path = tmp_path / "requests.sqlite"
    with Store(path) as store:
        mine = record(1, session=session_digest("s-1"))
        store.write(Batch(requests=[(mine, measures())], captures=[capture(1)]))
    return path


def test_forget_deletes_a_session(tmp_path: Path) -> None:
    """The session is named as the client named it; a second time there is nothing left."""
    arguments = ["forget", "--store", str(filled(tmp_path)), "--session", "s-1"]
    first = CliRunner().invoke(command, [*arguments, "--json"])
    assert (first.exit_code, json.loads(first.output)) == (0, {"requests": 1, "texts": 1})
    assert CliRunner().invoke(command, arguments).output == "0 texts deleted, 0 requests unlinked\n"


def test_summary_prints_json(tmp_path: Path) -> None:
    """It is the same as the HTTP address gives."""
    done = CliRunner().invoke(command, ["summary", "--store", str(filled(tmp_path)), "--policy", POLICY])
    assert json.loads(done.output)["requests"] == 1


def test_check_finds_rows_that_were_never_counted(tmp_path: Path) -> None:
    """A whole store is ok; one that somebody wrote into is not."""
    path = filled(tmp_path)
    assert CliRunner().invoke(command, ["check", "--store", str(path)]).output == "ok\n"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE totals SET value = 0")
    done = CliRunner().invoke(command, ["check", "--store", str(path)])
    assert (done.exit_code, done.output) == (
        1,
        "pointsman_access_log_entries_total: 1 are stored, 0 were counted\n",
    )


def test_flags_that_belong_together_are_asked_for_together(tmp_path: Path) -> None:
    """The error names the flags and the remedy."""
    pem = tmp_path / "a.pem"
    pem.write_text("")
    done = CliRunner().invoke(command, ["--store", str(tmp_path / "s"), "--tls-cert", str(pem)])
    assert done.exit_code == 2
    assert "give all three" in done.output


def test_durations_are_those_of_the_api(tmp_path: Path) -> None:
    """Days are no unit here; the error says how to write them."""
    done = CliRunner().invoke(command, ["--store", str(tmp_path / "s"), "--retention-requests", "30d"])
    assert done.exit_code == 2
    assert "720h" in done.output
