"""Writes how rollouts ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pointsman.evaluator.store.replicas import fence
from pointsman.evaluator.store.series import labels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.evaluator.store.store import Store
    from pointsman.evaluator.totals import Series


def put_ends(store: Store, values: Mapping[Series, int], gone: Iterable[Series]) -> None:
    """Replace `gone`, whoever wrote it, by `values`; what any replica has written already stays as it is."""
    with store.db.transaction():
        fence(store.db, store.replica)
        store.db.many(
            "DELETE FROM totals WHERE family = ? AND labels = ?",
            [(series.family, labels_of(series.labels)) for series in gone],
        )
        store.db.many(
            "INSERT INTO totals (replica, family, labels, part, value) SELECT ?, ?, ?, '', ?"
            " WHERE NOT EXISTS (SELECT 1 FROM totals WHERE family = ? AND labels = ?)",
            [
                (store.replica.name, s.family, labels_of(s.labels), at_us, s.family, labels_of(s.labels))
                for s, at_us in values.items()
            ],
        )
