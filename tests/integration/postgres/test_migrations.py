"""From nothing, or from what an earlier release left, to the newest tables: once, whoever starts together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pointsman.evaluator.store import Store, StoreError
from pointsman.evaluator.store import migrations as steps
from pointsman.evaluator.store import postgres as postgres_module
from pointsman.evaluator.store.address import Server
from pointsman.evaluator.store.postgres import Postgres
from postgres_kit import ask

pytestmark = pytest.mark.postgres


def test_replicas_that_start_together_migrate_once(url: str) -> None:
    """Eight at once on an empty database: each step is applied once, and all of them can write."""
    with ThreadPoolExecutor(8) as pool:
        for store in pool.map(Store, [url] * 8):
            store.close()
    versions = ask(url, "SELECT version FROM pointsman_schema ORDER BY 1")
    assert versions == [(step.number,) for step in steps.MIGRATIONS]


def test_a_store_of_an_earlier_release_is_migrated(url: str) -> None:
    """Counters of version 2 are there after the step to the newest."""
    before = Postgres(Server(url))
    with before.migration():
        for step in steps.MIGRATIONS[:2]:
            before.script(step.postgres)
            before.execute("INSERT INTO pointsman_schema (version) VALUES (?)", (step.number,))
        before.execute("INSERT INTO totals VALUES ('pointsman_access_log_entries_total', '[]', '', 41)")
    before.close()
    with Store(url) as store:
        assert sum(store.totals().values()) == 41
        assert store.damage() == []


def test_a_step_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are as before, and the next start does it again."""
    broken = steps.Migration(3, "CREATE TABLE half_done (x INTEGER); SELECT no_such_function()")
    monkeypatch.setattr(postgres_module, "MIGRATIONS", (*steps.MIGRATIONS[:2], broken))
    monkeypatch.setattr(postgres_module, "START_S", 0.0)
    with pytest.raises(StoreError, match="no_such_function"):
        Store(url)
    assert ask(url, "SELECT to_regclass('half_done'), to_regclass('requests')") == [(None, None)]
    monkeypatch.undo()
    Store(url).close()


def test_a_newer_database_is_refused(url: str) -> None:
    """A downgrade says what to do instead of breaking what it does not understand."""
    Store(url).close()
    ask(url, "INSERT INTO pointsman_schema (version) VALUES (99)")
    with pytest.raises(StoreError, match=r"version 99.*run the release that wrote it"):
        Store(url)


def test_a_database_that_is_not_there_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the address and PostgreSQL's own words."""
    monkeypatch.setattr(postgres_module, "START_S", 0.0)
    with pytest.raises(StoreError, match=r"nowhere.*does not exist"):
        Store(url.rpartition("/")[0] + "/nowhere")
