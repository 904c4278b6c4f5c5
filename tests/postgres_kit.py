"""Databases on a PostgreSQL that runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from pointsman.lab.postgres import Postgres

_numbers = itertools.count(1)


def fresh_database(server: Postgres) -> str:
    """Make an empty database; return its URL."""
    name = f"test_{next(_numbers)}"
    ask(server.url, f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement)  # type: ignore[call-overload]  # tests' own words
        return list(done.fetchall()) if done.description else []
