"""For all tests: lanes that run side by side on one machine, and leaks that fail the test that made them."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = (
    "tests/integration/apiserver/controllers",
    "tests/chart",
    "tests/integration/apiserver/gateways",
    "tests/integration/evaluator_cuts",
    "tests/integration/postgres",
    "tests/integration/apiserver/xds",
    "tests/integration/apiserver/restore",
    "tests/gitops",
    "tests/integration/apiserver/pools",
    "tests/integration/envoy",
)
"""Folders that take minutes: they begin first, so that no lane ends long after the others. Those with many
processes at a time stand apart."""
ALONE = "tests/e2e"
"""Where latencies and losses under load are counted: it runs last, and no other test runs meanwhile."""
BLAME = bool(os.environ.get("POINTSMAN_TEST_GC"))
"""Collect garbage whenever a test or a fixture ends: what is left unclosed fails who left it, not who comes
next. With `PYTHONTRACEMALLOC=20` the failure says where it was made."""


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist tells no types
    """Gives a lane a whole folder at a time, as its tests share servers; of pure tests, a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith("tests/unit/") else file.rpartition("/")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes | None:
    """Use our scheduler for `--dist loadscope`."""
    return Lanes(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long folders first and the lonely one last; else the order stays."""

    def place(item: pytest.Item) -> int:
        folder = item.nodeid.partition("::")[0].rpartition("/")[0]
        if folder == ALONE:
            return len(LONGEST) + 1
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test of `ALONE` wait until no other lane runs one, and these until it has ended."""
    lanes = os.environ.get("PYTEST_XDIST_WORKER")
    track = Path(item.config.getoption("basetemp")).parent / "track" if lanes else None  # one folder for all
    with _track(track, alone=item.nodeid.startswith(f"{ALONE}/")) if track else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def _track(path: Path, *, alone: bool) -> Iterator[None]:
    with path.open("a") as file:  # closed is unlocked, also by a death
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(trylast=True)
def pytest_fixture_post_finalizer(fixturedef: Any, request: pytest.FixtureRequest) -> None:
    """Collect what a fixture has left."""
    if BLAME:
        gc.collect()
