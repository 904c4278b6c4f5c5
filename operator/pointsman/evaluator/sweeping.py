"""Deletes what has been kept long enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.clock import Clock
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.writer import Writer

ROLLOUT_KEEP_US: Final = 15 * 60 * 1_000_000
"""How long counters of a rollout stay after its end: its last look at them must find them."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long things are kept, in seconds."""

    requests_s: int = 30 * 86_400
    series_s: int = 86_400
    """Counters of a policy or revision that is gone."""
    sweep_every_s: float = 60.0

    @property
    def nodes_s(self) -> int:
        """Counts of an Envoy that is gone, and that a session was deleted: longer than a request lasts."""
        return max(self.requests_s, 7 * 86_400)


async def sweep(  # noqa: PLR0917 - one caller, which puts everything together
    writer: Writer,
    policies: Policies,
    keeping: Keeping,
    metrics: ProcessMetrics,
    clock: Clock,
    member: Membership | None = None,
) -> None:
    """Delete what has been kept long enough, once; one of several replicas does it, all forget with it."""
    now_us = micros(clock)
    nodes_before = now_us - keeping.nodes_s * 1_000_000
    writer.ledger.expire(nodes_before)
    if member is not None and not member.leads:
        known = writer.totals.known()
        held = await writer.call(lambda store: store.totals() | store.estate()[1])
        writer.totals.drop([series for series in known if series not in held])  # dropped by who leads
        return
    retention: Mapping[str, int] = dict(policies.retention)
    texts = await writer.call(lambda store: store.sweep_texts(now_us, retention))
    rows_before = now_us - keeping.requests_s * 1_000_000
    rows = await writer.call(lambda store: store.sweep_requests(rows_before, nodes_before))
    metrics.swept.labels("text").inc(texts)
    metrics.swept.labels("request").inc(rows)
    if policies.synced.is_set():
        alive = policies.alive
        keep_us = keeping.series_s * 1_000_000
        writer.totals.drop(await writer.call(lambda store: store.drop_series(alive, now_us, keep_us)))
        live = frozenset((policy, rollout.id) for policy, rollout in policies.live.items())
        ended = policies.ended
        writer.totals.drop(
            await writer.call(lambda store: store.drop_rollouts(live, ended, now_us, ROLLOUT_KEEP_US))
        )
