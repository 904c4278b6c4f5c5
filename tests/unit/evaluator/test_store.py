"""The store on a file: reopened, full, broken, its owner's alone. The rest holds of every store."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator_builders import START_US, capture, file_of, record
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.store import Store, StoreError, UnavailableError
from pointsman.evaluator.store.migrations import MIGRATIONS
from pointsman.evaluator.totals import Name, Series
from store_behaviour import *  # noqa: F403 - the tests that both databases run
from store_behaviour import HOUR_US, SESSION, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def anywhere(path: Path, word: bytes) -> bool:
    """Whether `word` is in any of the store's files."""
    return any(word in file.read_bytes() for file in path.parent.iterdir() if file.is_file())


def test_what_is_written_is_there_after_reopening(path: Path) -> None:
    """Totals of a reopened store are those that its transactions reported, and what its rows say."""
    counted: Counter[Series] = Counter()
    with Store(path) as store:
        for number in range(5):
            counted += write(store, record(number, served_tier="strong" if number % 2 else "cheap")).counts
    with Store(path) as store:
        assert store.totals() == counted
        recounted = store.recount()
        assert {s: v for s, v in counted.items() if s in recounted} == recounted
        assert store.damage() == []


def test_a_full_disk_loses_nothing_that_was_written(path: Path, store: Store) -> None:
    """When no page can be added, the transaction fails; rows from before stay, and later ones go in again."""
    write(store, record(1))
    (pages,) = file_of(store).execute("PRAGMA page_count").fetchone()
    file_of(store).execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(UnavailableError, match="full"):
        write(store, captures=[capture(2, kept=Kept("text", "x" * 100_000, truncated=False))])
    file_of(store).execute("PRAGMA max_page_count = 1000000")
    write(store, record(3))
    assert store.totals()[Series(Name.ENTRIES, ())] == 2


def test_deleted_text_is_in_no_file(path: Path, store: Store) -> None:
    """After the sweep the bytes are neither in the database nor in its write-ahead log."""
    write(store, captures=[capture(0, kept=Kept("text", "unforgettable", truncated=False))])
    assert anywhere(path, b"unforgettable")
    store.sweep_texts(START_US + HOUR_US, {})
    assert not anywhere(path, b"unforgettable")


def test_forgetting_works_beside_a_running_evaluator(path: Path, store: Store) -> None:
    """The command line opens the store of a running evaluator; a second evaluator cannot."""
    write(store, record(1, session=SESSION), captures=[capture(1)])
    with Store(path, shared=True) as beside:
        assert beside.forget(SESSION, START_US + HOUR_US).texts == 1
    with pytest.raises(StoreError, match="another evaluator"):
        Store(path)


def test_the_file_is_its_owners_alone(path: Path, store: Store) -> None:
    """Prompts are in it: nobody else may read it or its log."""
    write(store, captures=[capture(1)])
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_newer_store_is_refused(path: Path) -> None:
    """A downgrade says what to do instead of breaking what it does not understand."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Store(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """The error names the file and the remedy."""
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match=r"requests\.sqlite.*move the file away"):
        Store(path)


def test_a_store_of_an_earlier_release_is_migrated(path: Path) -> None:
    """Counters and rows of version 2 are there after the step to the newest, and counted on from."""
    with sqlite3.connect(path, isolation_level=None) as db:
        for step in MIGRATIONS[:2]:
            db.executescript(step.sqlite)
        db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO totals VALUES ('pointsman_access_log_entries_total', '[]', '', 41)")
    with Store(path) as store:
        write(store, record(1))
        assert store.totals()[Series(Name.ENTRIES, ())] == 42
