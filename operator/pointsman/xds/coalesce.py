"""When a gateway's changed plans are published: changed traffic at once, the rest when it is quiet. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.plan.types import PolicyPlan

QUIET_S: Final = 0.25
"""Without a further change for so long, what has changed is published."""
MOST_S: Final = 1.0
"""Nothing waits longer than this."""


class Coalescer:
    """Offer it the latest plans as often as they change; take what shall be published now."""

    def __init__(self, quiet_s: float = QUIET_S, most_s: float = MOST_S) -> None:
        self._quiet_s = quiet_s
        self._most_s = most_s
        self._latest: Mapping[str, PolicyPlan] = {}
        self._published: Mapping[str, PolicyPlan] | None = None
        self._first = self._last = 0.0

    def offer(self, plans: Mapping[str, PolicyPlan], now: float) -> None:
        """Note what is wanted; `now` is any monotonic time in seconds."""
        if plans == self._latest:
            return
        if self._latest == self._published:
            self._first = now
        self._latest, self._last = dict(plans), now

    @property
    def published(self) -> Mapping[str, PolicyPlan]:
        """What was taken last."""
        return self._published or {}

    @property
    def due(self) -> float | None:
        """When `take` will have something, if nothing more is offered; None: it has nothing."""
        if self._published is None:
            return 0.0
        if self._latest == self._published:
            return None
        return min(self._last + self._quiet_s, self._first + self._most_s)

    def take(self, now: float) -> tuple[Mapping[str, PolicyPlan], frozenset[str]] | None:
        """Return the plans to publish and those among them whose traffic changed; None: nothing yet."""
        published = self._published
        if published is None or (self.due is not None and now >= self.due):
            urgent = self._urgent(published or {})
            self._published = self._latest
            return self._latest, urgent
        urgent = self._urgent(published)
        if not urgent:
            return None
        # Only these: what else has changed may need seconds in Envoy, and a rollback waits for nobody.
        self._published = dict(published) | {key: self._latest[key] for key in urgent}
        return self._published, urgent

    def _urgent(self, published: Mapping[str, PolicyPlan]) -> frozenset[str]:
        return frozenset(
            key
            for key, plan in self._latest.items()
            if key in published and plan is not published[key] and _traffic(plan) != _traffic(published[key])
        )


def _traffic(plan: PolicyPlan) -> list[tuple[str, int]]:
    return [(arm.revision, arm.weight_permille) for arm in plan.arms]
