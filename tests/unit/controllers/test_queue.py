"""The work queue: deduplication, due times, one worker a key, back-off."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.backoff import Backoff
from pointsman.controllers.queue import QueueCore, WorkQueue
from wait import until

KEYS = st.sampled_from(["a/x", "a/y", "b/x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, st.floats(0, 10)),
        st.tuples(st.just("pop"), KEYS, st.floats(0, 3)),
        st.tuples(st.just("done"), KEYS, st.floats(0, 10)),
        st.tuples(st.just("fail"), KEYS, st.just(0.0)),
    ),
    max_size=60,
)


def core(jitter: float = 0.0) -> QueueCore:
    return QueueCore(Backoff(base_s=1.0, cap_s=8.0, jitter=jitter), random.Random(1))  # noqa: S311 - a seed, no secret


@given(STEPS)
@settings(max_examples=200)
def test_properties(steps: list[tuple[str, str, float]]) -> None:
    """No key is out twice, none comes before it is due, and none that was asked for is ever lost."""
    queue, now = core(), 0.0
    wanted: dict[str, float] = {}
    out: set[str] = set()
    for verb, key, number in steps:
        if verb == "add":
            due = now + number
            queue.add(key, due)
            wanted[key] = min(due, wanted.get(key, due))
        elif verb == "pop":
            now += number
            got = queue.pop(now)
            if got is None:
                assert not [k for k, due in wanted.items() if due <= now and k not in out]
            else:
                assert got not in out
                assert wanted.pop(got) <= now
                out.add(got)
        elif key in out:
            out.discard(key)
            delay = queue.done(key, now, failed=verb == "fail", requeue_after=number)
            assert delay is not None
            wanted[key] = min(now + delay, wanted.get(key, now + delay))
        assert queue.running == out
        assert queue.next_due() == min((d for k, d in wanted.items() if k not in out), default=None)


def test_an_event_during_the_work_brings_the_key_back_once() -> None:
    """Any number of events while a key is worked on make one more round."""
    queue = core()
    queue.add("a/x", 0.0)
    assert queue.pop(0.0) == "a/x"
    queue.add("a/x", 0.1)
    queue.add("a/x", 0.2)
    assert queue.pop(1.0) is None
    queue.done("a/x", 1.0, failed=False)
    assert queue.pop(1.0) == "a/x"
    queue.done("a/x", 1.0, failed=False)
    assert queue.pop(9.0) is None


def test_an_earlier_due_time_wins() -> None:
    """Being asked for sooner is not put off by an older, later due time."""
    queue = core()
    queue.add("a/x", 60.0)
    queue.add("a/x", 1.0)
    assert queue.next_due() == 1.0
    assert queue.pop(1.0) == "a/x"
    queue.done("a/x", 1.0, failed=False)
    assert queue.pop(100.0) is None


def test_errors_back_off_each_for_itself() -> None:
    """The delay doubles up to the cap, a success ends it, and another key is not held up."""
    queue = core()
    delays = []
    for _ in range(6):
        queue.add("a/x", 0.0)
        assert queue.pop(0.0) == "a/x"
        delays.append(queue.done("a/x", 0.0, failed=True))
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    queue.add("b/x", 0.0)
    assert queue.pop(0.0) == "b/x"
    assert queue.done("b/x", 0.0, failed=True) == 1.0
    assert queue.pop(10.0) in {"a/x", "b/x"}
    queue.done("a/x", 10.0, failed=False)
    assert queue.errors("a/x") == 0


@given(st.integers(1, 200), st.integers())
def test_jitter_stays_within_its_share(errors: int, seed: int) -> None:
    """A delay lies between half and the whole of the doubled base, and never beyond the cap."""
    rng = random.Random(seed)  # noqa: S311 - a seed, no secret
    delay = Backoff(base_s=0.5, cap_s=60.0, jitter=0.5).delay(errors, rng)
    full = min(60.0, 0.5 * 2.0 ** min(errors - 1, 30))
    assert full / 2 <= delay <= full


async def test_a_failing_key_does_not_hold_up_the_others() -> None:
    """Twenty keys are worked off although one raises each time."""
    done: set[str] = set()
    told: list[tuple[str, int]] = []

    async def handle(key: str) -> float | None:
        await asyncio.sleep(0)
        if key == "bad":
            raise RuntimeError("broken")
        done.add(key)
        return None

    queue = WorkQueue(workers=1, on_error=lambda key, _error, n, _delay: told.append((key, n)))
    task = asyncio.create_task(queue.run(handle))
    for key in ["bad", *(f"k{n}" for n in range(20))]:
        queue.add(key)
    await until(lambda: len(done) == 20)
    assert told[0] == ("bad", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_requeue_after_is_kept() -> None:
    """A handler that asks to be called again after some time is."""
    times: list[float] = []

    async def handle(_key: str) -> float | None:
        times.append(asyncio.get_running_loop().time())
        return 0.1 if len(times) < 3 else None

    queue = WorkQueue()
    task = asyncio.create_task(queue.run(handle))
    queue.add("k")
    await until(lambda: len(times) == 3)
    assert times[2] - times[0] >= 0.19
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stopping_lets_the_work_under_way_finish() -> None:
    """A reconcile that runs when the queue stops completes."""
    started, finished = asyncio.Event(), asyncio.Event()

    async def handle(_key: str) -> float | None:
        started.set()
        await asyncio.sleep(0.05)
        finished.set()
        return None

    queue = WorkQueue()
    task = asyncio.create_task(queue.run(handle))
    queue.add("k")
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished.is_set()
