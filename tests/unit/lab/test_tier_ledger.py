"""A tier's ledger."""

from __future__ import annotations

from pointsman.lab.tier_ledger import Entry, Ledger


def test_a_replay_is_told_from_a_clients_request_by_its_id() -> None:
    """The evaluator's ids begin with a prefix of their own."""
    entries = [Entry.of({"x-request-id": identity}, 200) for identity in ("shadow-1", "2")]
    assert [entry.shadow for entry in entries] == [True, False]


def test_it_counts_all_and_names_each() -> None:
    """Counts by status, replays, and the ids in order."""
    ledger = Ledger()
    for identity, status in (("a", 200), ("shadow-b", 200), ("c", 503)):
        ledger.add(Entry.of({"x-request-id": identity}, status))
    shown = ledger.shown(with_entries=True)
    assert (shown["count"], shown["shadow"], shown["byStatus"]) == (3, 1, {"200": 2, "503": 1})
    assert [entry["id"] for entry in shown["entries"]] == ["a", "shadow-b", "c"]


def test_counts_go_on_where_entries_end() -> None:
    """Old entries go, so that memory is bounded; the count stays whole."""
    ledger = Ledger(kept=2)
    for number in range(5):
        ledger.add(Entry(str(number), 200, shadow=False))
    shown = ledger.shown(with_entries=True)
    assert shown["count"] == 5
    assert [entry["id"] for entry in shown["entries"]] == ["3", "4"]


def test_who_knows_the_first_ones_asks_for_the_rest() -> None:
    """`after` counts from the start, whatever is kept."""
    ledger = Ledger(kept=3)
    for number in range(5):
        ledger.add(Entry(str(number), 200, shadow=False))
    for after, rest in ((0, ["2", "3", "4"]), (1, ["2", "3", "4"]), (4, ["4"]), (5, [])):
        shown = ledger.shown(with_entries=True, after=after)
        assert [entry["id"] for entry in shown["entries"]] == rest
