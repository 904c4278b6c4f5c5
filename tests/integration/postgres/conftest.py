"""One PostgreSQL for all tests here, a database of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator_rig import Rig
from pointsman.evaluator.store import Store
from pointsman.lab.postgres import Postgres
from postgres_kit import fresh_database


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def url(server: Postgres) -> str:
    return fresh_database(server)


@pytest.fixture
def rig(tmp_path: Path, url: str) -> Rig:
    return Rig(tmp_path, url=url)


@pytest.fixture
def store(rig: Rig) -> Iterator[Store]:
    with rig.opened() as opened:
        yield opened
