"""What a dead replica had counted: shown once, and never as if it had just happened."""

from __future__ import annotations

import pytest

from evaluator_builders import measures, record
from pointsman.evaluator.metrics import Totals
from pointsman.evaluator.rows import Batch
from pointsman.evaluator.store import Store
from pointsman.evaluator.store.replicas import Replica, adopt, join
from postgres_kit import ask
from replica_kit import ENTRIES

pytestmark = pytest.mark.postgres


def counted(url: str, name: str, *numbers: int) -> None:
    """Let a replica store some entries, and die."""
    own = Replica(name)
    with Store(url, replica=own) as store:
        join(store.db, own)
        store.write(Batch(requests=[(record(number), measures()) for number in numbers]))
    ask(url, "UPDATE replicas SET seen_us = 0 WHERE replica = %s", name)


def heir(url: str, name: str) -> Store:
    """Return a replica that takes over who is dead."""
    own = Replica(name)
    store = Store(url, replica=own)
    join(store.db, own)
    for (dead,) in ask(url, "SELECT replica FROM replicas WHERE replica <> %s", name):
        assert adopt(store.db, own, dead, 30.0)
    return store


def test_an_heirs_own_counts_do_not_move(url: str) -> None:
    """Its own start from what it wrote; what it took over is beside them, and the sum is what is stored."""
    counted(url, "b", 1, 2, 3)
    with heir(url, "a") as store:
        store.write(Batch(requests=[(record(9), measures())]))
        label, estate = store.estate()
        assert label
        assert (store.totals()[ENTRIES], estate[ENTRIES]) == (1, 3)
        assert store.all_totals()[ENTRIES] == 4
        assert store.damage() == []


def test_each_death_makes_new_series_of_all_that_was_taken_over(url: str) -> None:
    """The second death's counts join the first's under another label: a series that never grew."""
    counted(url, "b", 1, 2, 3)
    with heir(url, "a") as store:
        first, _ = store.estate()
    counted(url, "c", 4, 5)
    with heir(url, "a") as store:
        second, estate = store.estate()
        assert first != second
        assert estate[ENTRIES] == 5
    assert ask(url, "SELECT count(DISTINCT replica) FROM totals WHERE replica <> 'a'") == [(1,)]


def test_an_estate_goes_on_to_the_heirs_heir(url: str) -> None:
    """Also when its heir has died: nothing is lost, nothing is twice, and names that begin alike are two."""
    counted(url, "b-1", 1, 2, 3)
    with heir(url, "b") as store:
        store.write(Batch(requests=[(record(4), measures())]))
    ask(url, "UPDATE replicas SET seen_us = 0 WHERE replica = 'b'")
    with heir(url, "a") as store:
        assert store.estate()[1][ENTRIES] == 4
        assert store.all_totals()[ENTRIES] == 4
        assert store.damage() == []


def test_what_was_taken_over_is_told_apart_by_a_label(url: str) -> None:
    """Prometheus' text: the heir's own line, and one beside it, of histograms every bucket."""
    counted(url, "b", 1, 2)
    with heir(url, "a") as store:
        totals = Totals(store.totals())
        totals.take_over(*store.estate())
        label, _ = store.estate()
    lines = totals.render().decode().splitlines()
    assert "pointsman_access_log_entries_total 0.0" in lines
    assert f'pointsman_access_log_entries_total{{taken_over="{label}"}} 2.0' in lines
    buckets = [line for line in lines if line.startswith("pointsman_decision_seconds_bucket{")]
    assert buckets
    assert all(f'taken_over="{label}"' in line for line in buckets)
    totals.take_over("", {})
    assert "taken_over" not in totals.render().decode()
