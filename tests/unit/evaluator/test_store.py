"""The store: whole batches or nothing, exact totals, and letting go in time."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator_builders import POLICY, START_US, capture, measures, record
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.rows import Batch, Written
from pointsman.evaluator.store import RefusedError, Store, StoreError, UnavailableError
from pointsman.evaluator.totals import Name, Series, capture_series

HOUR_US = 3_600_000_000
SESSION = session_digest("s-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def write(store: Store, *records: Any, captures: Any = ()) -> Written:
    return store.write(Batch(requests=[(r, measures()) for r in records], captures=list(captures)))


def texts(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        return [row[0] for row in db.execute("SELECT text FROM captures ORDER BY request_id, half")]


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


def test_a_duplicate_delivery_changes_nothing(store: Store) -> None:
    """The same entry, in one batch or in two, is one row and one count."""
    first = write(store, record(1), record(1))
    again = write(store, record(1))
    assert (first.duplicates, again.duplicates) == (1, 1)
    assert again.counts == Counter()
    assert store.totals()[Series(Name.ENTRIES, ())] == 1
    assert [node.received for node in store.nodes()] == [1]


def test_a_request_id_that_a_client_repeats_hides_no_request(store: Store) -> None:
    """Another request under the same id, at another time, is another row."""
    write(store, record(1), record(1, start_us=START_US + 7))
    assert store.totals()[Series(Name.ENTRIES, ())] == 2


def test_a_batch_is_written_whole_or_not_at_all(path: Path, store: Store) -> None:
    """A row that SQLite cannot take leaves nothing of its batch."""
    with pytest.raises(RefusedError):
        write(store, record(1), record(2, duration_us=1 << 70))
    assert store.totals() == Counter()
    assert write(store, record(1)).duplicates == 0


def test_a_full_disk_loses_nothing_that_was_written(path: Path, store: Store) -> None:
    """When no page can be added, the transaction fails; rows from before stay, and later ones go in again."""
    write(store, record(1))
    (pages,) = store.db.connection.execute("PRAGMA page_count").fetchone()
    store.db.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(UnavailableError, match="full"):
        write(store, captures=[capture(2, kept=Kept("text", "x" * 100_000, truncated=False))])
    store.db.connection.execute("PRAGMA max_page_count = 1000000")
    write(store, record(3))
    assert store.totals()[Series(Name.ENTRIES, ())] == 2


def test_text_is_kept_as_long_as_its_policy_says(path: Path, store: Store) -> None:
    """A text an hour old goes by its own promise, or by today's if that is shorter; a younger one stays."""
    write(store, captures=[capture(0), capture(60), capture(0, "response", retention_s=999_999)])
    assert store.sweep_texts(START_US + HOUR_US - 1, {}) == 0
    assert store.sweep_texts(START_US + HOUR_US, {}) == 1
    assert texts(path) == ["response text 0", "request text 60"]
    assert store.sweep_texts(START_US + HOUR_US, {POLICY: 3599}) == 1
    assert texts(path) == ["request text 60"]


def test_a_longer_retention_does_not_lengthen_an_old_promise(path: Path, store: Store) -> None:
    """Text that was taken under one hour goes after one hour, whatever the policy says later."""
    write(store, captures=[capture(0)])
    store.sweep_texts(START_US + HOUR_US, {POLICY: 999_999})
    assert texts(path) == []


def test_deleted_text_is_in_no_file(path: Path, store: Store) -> None:
    """After the sweep the bytes are neither in the database nor in its write-ahead log."""
    write(store, captures=[capture(0, kept=Kept("text", "unforgettable", truncated=False))])
    assert anywhere(path, b"unforgettable")
    store.sweep_texts(START_US + HOUR_US, {})
    assert not anywhere(path, b"unforgettable")


def test_old_rows_go_and_totals_stay(store: Store) -> None:
    """A counter never goes back because rows were old."""
    before = write(store, record(1), record(2), record(3)).counts
    assert store.sweep_requests(START_US + 3_000_000, START_US) == 2
    assert store.totals() == before
    assert store.recount()[Series(Name.ENTRIES, ())] == 1


def test_forgetting_a_session_deletes_its_text_and_its_link(path: Path, store: Store) -> None:
    """Text of the session's requests is gone, others' stays, and no row says whose it was."""
    write(
        store,
        record(1, session=SESSION),
        record(2, session=session_digest("s-2")),
        captures=[capture(1), capture(1, "response"), capture(2)],
    )
    before = store.totals()
    done = store.forget(SESSION, START_US + HOUR_US)
    assert (done.requests, done.texts) == (1, 2)
    assert texts(path) == ["request text 2"]
    assert not _linked(path)
    assert store.totals() == before


def _linked(path: Path) -> bool:
    with sqlite3.connect(path) as db:
        (number,) = db.execute("SELECT count(*) FROM requests WHERE session = ?", (SESSION,)).fetchone()
    return bool(number)


def test_what_is_under_way_of_a_forgotten_session_is_not_kept(path: Path, store: Store) -> None:
    """Text before or after its log entry, both after the deletion: dropped, and the row is not linked."""
    write(store, captures=[capture(1)])
    store.forget(SESSION, START_US + HOUR_US)
    write(store, record(1, session=SESSION))
    late = write(store, captures=[capture(1, "response")])
    assert texts(path) == []
    assert not _linked(path)
    assert [row.half for row in late.refused] == ["response"]
    assert late.counts == Counter()


def test_a_session_may_begin_anew_after_it_was_forgotten(path: Path, store: Store) -> None:
    """A request that starts after the deletion is kept as any other."""
    store.forget(SESSION, START_US)
    write(store, record(1, session=SESSION), captures=[capture(1)])
    assert _linked(path)
    assert texts(path) == ["request text 1"]


def test_forgetting_works_beside_a_running_evaluator(path: Path, store: Store) -> None:
    """The command line opens the store of a running evaluator; a second evaluator cannot."""
    write(store, record(1, session=SESSION), captures=[capture(1)])
    with Store(path, shared=True) as beside:
        assert beside.forget(SESSION, START_US + HOUR_US).texts == 1
    with pytest.raises(StoreError, match="another evaluator"):
        Store(path)


def test_counters_of_a_deleted_policy_go_after_their_time(store: Store) -> None:
    """Gone for an hour: dropped, with all its series. What belongs to no policy is kept for ever."""
    write(store, record(1), record(2, policy="chat/other"), record(3, policy="", revision=""))
    write(store, captures=[capture(1)])
    alive = {"chat/other": frozenset({"support-0123456789"})}
    assert store.drop_series(alive, START_US, HOUR_US) == []
    assert store.drop_series(alive, START_US + HOUR_US - 1, HOUR_US) == []
    dropped = store.drop_series(alive, START_US + HOUR_US, HOUR_US)
    assert capture_series(POLICY, "request", "stored") in dropped
    left = store.totals()
    assert not any("support" in series.labels for series in left)
    assert {series.labels[1] for series in left if series.family == Name.REQUESTS} == {"other", ""}


def test_a_policy_that_comes_back_in_time_keeps_its_counters(store: Store) -> None:
    """Deleted and re-created within the time: the clock for its series starts anew."""
    write(store, record(1))
    alive = {POLICY: frozenset({"support-0123456789"})}
    store.drop_series({}, START_US, HOUR_US)
    store.drop_series(alive, START_US + 1, HOUR_US)
    assert store.drop_series({}, START_US + HOUR_US, HOUR_US) == []


def test_a_revision_that_is_gone_goes_alone(store: Store) -> None:
    """Series of the policy itself (captures) stay while the policy lives."""
    write(store, record(1), captures=[capture(1)])
    alive = {POLICY: frozenset({"always-strong"})}
    store.drop_series(alive, START_US, 0)
    assert store.totals() == Counter(
        {capture_series(POLICY, "request", "stored"): 1, Series(Name.ENTRIES, ()): 1}
    )


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
