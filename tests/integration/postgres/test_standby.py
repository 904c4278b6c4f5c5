"""A server that was demoted: who is connected to it must look for the new one."""

from __future__ import annotations

import pytest

from evaluator_builders import measures, record
from pointsman.evaluator.rows import Batch
from pointsman.evaluator.store import Store, UnavailableError
from pointsman.evaluator.store.postgres import Postgres as Connection
from pointsman.lab.postgres import Postgres
from postgres_kit import ask
from replica_kit import ENTRIES

pytestmark = pytest.mark.postgres


def test_a_connection_to_a_standby_is_not_kept(server: Postgres, url: str) -> None:
    """A write that finds it read-only fails for now, and the next one connects anew and goes in."""
    database = url.rpartition("/")[2]
    with Store(url) as store:
        connection = store.db
        assert isinstance(connection, Connection)
        ask(server.url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        connection.close()
        batch = Batch(requests=[(record(1), measures())])
        with pytest.raises(UnavailableError, match="read-only"):
            store.write(batch)
        assert connection._connection is None
        ask(server.url, f"ALTER DATABASE {database} SET default_transaction_read_only = off")
        assert store.write(batch).counts[ENTRIES] == 1
