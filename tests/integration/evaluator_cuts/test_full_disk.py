"""A volume that is full, under traffic and at rest: a small tmpfs, a real Envoy, a real evaluator."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator_builders import POLICY, START_US, capture, measures, record
from evaluator_stack import EvaluatorStack
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.record import session_digest
from pointsman.evaluator.rows import Batch
from pointsman.evaluator.store import FullError, Store
from pointsman.evaluator.store.reserve import RESERVE_BYTES
from pointsman.evaluator.totals import Name, Series
from small_volume import MIB, fill, small_volume
from wait import until

pytestmark = pytest.mark.timeout(300)

HOUR_S = 3600
ENTRIES = Series(Name.ENTRIES, ())
SESSION = session_digest("s")


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    with small_volume(tmp_path / "volume") as place:
        yield place


def texts(number: int, size: int = 256 * 1024) -> Batch:
    """Return a batch of eight long texts, kept for an hour."""
    kept = Kept("text", f"{number:08}" * (size // 8), truncated=False)
    return Batch(captures=[capture(8 * number + i, kept=kept, retention_s=HOUR_S) for i in range(8)])


def full_of_texts(store: Store, volume: Path) -> int:
    """Write texts until nothing more goes in; return how many batches did."""
    for number in range(1000):
        try:
            store.write(texts(number))
        except FullError:
            fill(volume)
            return number
    raise AssertionError("the volume never was full")


@pytest.mark.envoy
async def test_a_full_volume_holds_counts_up_and_costs_none(tmp_path: Path, volume: Path) -> None:
    """Clients notice nothing; it says that it is full; with room again every request is counted, once."""
    async with EvaluatorStack(tmp_path, volume=volume) as stack:

        async def ready() -> bool:
            return (await stack.own.get("/readyz")).status_code == 200

        async def shows(name: str, number: float | None) -> None:
            """Wait for a metric: a scrape may be late on a busy machine."""
            wanted = {} if number is None else {(): number}

            async def same() -> bool:
                entries = await stack.metric("pointsman_access_log_entries_total")
                return bool(entries) and await stack.metric(f"pointsman_{name}") == wanted

            await until(same, 30, 0.5, name)

        async def unready() -> bool:
            return not await ready()

        for _ in range(30):
            assert await stack.post("/v1/good") == 200
        await stack.requests(30)
        file = fill(volume, reserve=False)
        for _ in range(200):
            assert await stack.post("/v1/good") == 200
        await until(unready, 60, 0.2)
        assert "full" in (await stack.own.get("/readyz")).text
        await shows("evaluator_store_up", 0)
        free = await stack.metric("pointsman_evaluator_store_volume_free_bytes")
        assert sum(free.values()) < MIB
        assert (await stack.summary())["requests"] < 230
        file.unlink()
        await until(ready, 60, 0.2)
        await stack.requests(230)
        await shows("access_log_entries_total", 230)
        await shows("access_log_lost_total", 0)
        await shows("evaluator_dropped_total", None)
        await shows("evaluator_store_up", 1)
        log = (tmp_path / "evaluator.log").read_text()
        assert log.count("cannot write to the store") == 1
        assert log.count("the store takes rows again") == 1
    with Store(stack.store) as store:
        assert store.totals()[ENTRIES] == 230
        assert store.damage() == []


def test_what_is_over_is_deleted_from_a_full_volume(volume: Path) -> None:
    """Text goes when its time is over, room or not; its room comes back, and rows go in again."""
    with Store(volume / "requests.sqlite") as store:
        batches = full_of_texts(store, volume)
        now_us = START_US + (8 * batches + HOUR_S + 1) * 1_000_000
        assert store.sweep_texts(now_us, {POLICY: HOUR_S}) == 8 * batches
        for _ in range(5):
            store.sweep_texts(now_us, {})  # pages are given back some at a time
        store.write(Batch(requests=[(record(1), measures())]))
        assert store.totals()[ENTRIES] == 1
        assert (volume / "requests.sqlite.reserve").stat().st_size == RESERVE_BYTES
        assert store.damage() == []


def test_a_session_is_forgotten_on_a_full_volume(volume: Path) -> None:
    """A person's text is deleted there as anywhere, and by another process, too."""
    with Store(volume / "requests.sqlite") as store:
        store.write(Batch(requests=[(record(1, session=SESSION), measures())]))
        full_of_texts(store, volume)
        with Store(volume / "requests.sqlite", shared=True) as other:
            done = other.forget(SESSION, START_US)
        assert (done.requests, done.texts) == (1, 1)
        assert store.damage() == []


def test_an_evaluator_starts_on_a_full_volume(volume: Path) -> None:
    """It opens what is there, deletes what is over, and writes nothing until there is room."""
    place = volume / "requests.sqlite"
    with Store(place) as store:
        batches = full_of_texts(store, volume)
    fill(volume)
    with Store(place) as store:
        with pytest.raises(FullError):
            store.write(texts(999))
        assert store.sweep_texts(START_US + 1_000_000 * HOUR_S * 9, {}) == 8 * batches
    with sqlite3.connect(place) as plain:
        assert plain.execute("SELECT count(*) FROM captures").fetchone() == (0,)
