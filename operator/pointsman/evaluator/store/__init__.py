"""The evaluator's store: one set of tables and statements, on SQLite (one evaluator) or PostgreSQL (several).

`database` is what the two have in common, `store` is what is asked of them, `migrations` brings either to the
newest version, `replicas` lets several evaluators share one without counting anything twice.
"""

from pointsman.evaluator.store.database import (
    FencedError,
    FullError,
    RefusedError,
    StoreError,
    TakenError,
    UnavailableError,
)
from pointsman.evaluator.store.store import Store

__all__ = [
    "FencedError",
    "FullError",
    "RefusedError",
    "Store",
    "StoreError",
    "TakenError",
    "UnavailableError",
]
