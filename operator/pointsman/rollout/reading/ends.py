"""How attempts ended, as the evaluator keeps it. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pointsman.rollout.evidence import Ended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pointsman.rollout.reading.series import Series


def ends(series: Iterable[Series]) -> dict[tuple[str, str], tuple[Ended, ...]]:
    """Return by (namespace, policy) the latest end of each revision."""
    found: dict[tuple[str, str], dict[tuple[str, str], Ended]] = defaultdict(dict)
    for one in series:
        labels = one.labels
        end = Ended(
            labels["uid"],
            labels["revision"],
            labels.get("ended", ""),
            int(labels["attempt"]),
            labels["outcome"],
            one.last,
        )
        of_policy = found[labels["namespace"], labels["policy"]]
        known = of_policy.get((end.uid, end.revision), end)
        of_policy[end.uid, end.revision] = max(end, known, key=lambda e: e.at_s)
    return {policy: tuple(sorted(of_policy.values())) for policy, of_policy in found.items()}
