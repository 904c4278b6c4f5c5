"""What holds of every store, on SQLite and on PostgreSQL: tests that both run, each with its own `store`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from evaluator_builders import POLICY, START_US, capture, measures, record
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.rows import Batch, Written
from pointsman.evaluator.store import RefusedError, Store
from pointsman.evaluator.totals import Name, Series, capture_series

HOUR_US = 3_600_000_000
SESSION = session_digest("s-1")


def write(store: Store, *records: Any, captures: Any = ()) -> Written:
    return store.write(Batch(requests=[(r, measures()) for r in records], captures=list(captures)))


def texts(store: Store) -> list[str]:
    with store.db.snapshot():
        return [row[0] for row in store.db.execute("SELECT text FROM captures ORDER BY request_id, half")]


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


def test_a_batch_is_written_whole_or_not_at_all(store: Store) -> None:
    """A row that the store cannot take leaves nothing of its batch."""
    with pytest.raises(RefusedError):
        write(store, record(1), record(2, duration_us=1 << 70))
    assert store.totals() == Counter()
    assert write(store, record(1)).duplicates == 0


def test_text_is_kept_as_long_as_its_policy_says(store: Store) -> None:
    """A text an hour old goes by its own promise, or by today's if that is shorter; a younger one stays."""
    write(store, captures=[capture(0), capture(60), capture(0, "response", retention_s=999_999)])
    assert store.sweep_texts(START_US + HOUR_US - 1, {}) == 0
    assert store.sweep_texts(START_US + HOUR_US, {}) == 1
    assert texts(store) == ["response text 0", "request text 60"]
    assert store.sweep_texts(START_US + HOUR_US, {POLICY: 3599}) == 1
    assert texts(store) == ["request text 60"]


def test_a_longer_retention_does_not_lengthen_an_old_promise(store: Store) -> None:
    """Text that was taken under one hour goes after one hour, whatever the policy says later."""
    write(store, captures=[capture(0)])
    store.sweep_texts(START_US + HOUR_US, {POLICY: 999_999})
    assert texts(store) == []


def test_old_rows_go_and_totals_stay(store: Store) -> None:
    """A counter never goes back because rows were old."""
    before = write(store, record(1), record(2), record(3)).counts
    assert store.sweep_requests(START_US + 3_000_000, START_US) == 2
    assert store.totals() == before
    assert store.recount()[Series(Name.ENTRIES, ())] == 1


def test_forgetting_a_session_deletes_its_text_and_its_link(store: Store) -> None:
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
    assert texts(store) == ["request text 2"]
    assert not _linked(store)
    assert store.totals() == before


def _linked(store: Store) -> bool:
    with store.db.snapshot():
        ((number,),) = store.db.execute("SELECT count(*) FROM requests WHERE session = ?", (SESSION,))
    return bool(number)


def test_what_is_under_way_of_a_forgotten_session_is_not_kept(store: Store) -> None:
    """Text before or after its log entry, both after the deletion: dropped, and the row is not linked."""
    write(store, captures=[capture(1)])
    store.forget(SESSION, START_US + HOUR_US)
    write(store, record(1, session=SESSION))
    late = write(store, captures=[capture(1, "response")])
    assert texts(store) == []
    assert not _linked(store)
    assert [row.half for row in late.refused] == ["response"]
    assert late.counts == Counter()


def test_a_session_may_begin_anew_after_it_was_forgotten(store: Store) -> None:
    """A request that starts after the deletion is kept as any other."""
    store.forget(SESSION, START_US)
    write(store, record(1, session=SESSION), captures=[capture(1)])
    assert _linked(store)
    assert texts(store) == ["request text 1"]


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


def test_text_that_only_one_database_could_hold_is_taken(store: Store) -> None:
    """A NUL in a text, which PostgreSQL cannot store, costs no row."""
    kept = Kept("text", "one\0two", truncated=False)
    assert len(write(store, captures=[capture(1, kept=kept), capture(2)]).texts) == 2


def test_what_arrived_is_known_by_when_it_ended(store: Store) -> None:
    """Of an Envoy's stored requests, those that had ended by a time; of an unknown Envoy none."""
    write(store, *(record(number) for number in range(4)))
    ends = [record(number).end_us for number in range(4)]
    marks = [("envoy-1", ends[0] - 1), ("envoy-1", ends[1]), ("envoy-1", ends[3]), ("envoy-9", ends[3])]
    assert store.arrived(marks) == [0, 2, 4, 0]
