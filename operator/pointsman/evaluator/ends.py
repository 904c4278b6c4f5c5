"""How rollouts ended, kept in the store: the operator's own word on it lies in etcd, which may be put back.

One end a revision of a policy, the latest. It goes with the revision's other counters, a day after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from pointsman.evaluator.evidence import Evidence
from pointsman.evaluator.store.database import StoreError
from pointsman.evaluator.store.ends import put_ends
from pointsman.evaluator.totals import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.writer import Writer

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0


class Place(NamedTuple):
    """Whose end it is."""

    namespace: str
    policy: str
    uid: str
    revision: str


class End(NamedTuple):
    """The end of one attempt."""

    at_us: int
    ended: str
    """Id of the rollout; "": none was under way (all of the traffic was sent to the last tier by hand)."""
    attempt: int
    outcome: str


def ends(policy: RoutingPolicy, revisions: Iterable[RoutingPolicyRevision]) -> Iterator[tuple[Place, End]]:
    """Yield what a policy's status, and the records of its revisions, say has ended."""
    metadata, status = policy.metadata, policy.status
    rollouts = [record.rollout for revision in revisions for record in revision.status.attempts]
    if status.rollout is not None:
        rollouts.append(status.rollout)
    told = set[tuple[str, str]]()

    def place(revision: str) -> Place:
        return Place(metadata.namespace, metadata.name, metadata.uid, revision)

    for rollout in rollouts:
        if rollout.ended_at is not None:
            told.add((rollout.candidate, rollout.ended_at))
            end = End(_micros(rollout.ended_at), rollout.id, rollout.attempt, rollout.outcome or "")
            yield place(rollout.candidate), end
    for failed in status.failed_revisions:
        if (failed.revision, failed.at) not in told:
            yield place(failed.revision), End(_micros(failed.at), "", failed.attempts, failed.outcome)


def series_of_end(place: Place, end: End) -> Series:
    """Return the gauge of an end; its value is when it was."""
    return Series(Evidence.ENDED, (*place, end.ended, str(end.attempt), end.outcome))


def known_ends(totals: Mapping[Series, int]) -> dict[Place, End]:
    """Return the latest end of each revision that the store holds."""
    found: dict[Place, End] = {}
    for series, at_us in totals.items():
        if series.family == Evidence.ENDED:
            *place, ended, attempt, outcome = series.labels
            end = End(at_us, ended, int(attempt), outcome)
            found[Place(*place)] = max(end, found.get(Place(*place), end))
    return found


def news(seen: Iterable[tuple[Place, End]], known: Mapping[Place, End]) -> dict[Place, End]:
    """Return the ends that are later than what is known of their revision."""
    fresh: dict[Place, End] = {}
    for place, end in seen:
        before = fresh.get(place) or known.get(place)
        # at the same time the rollout's own word says more than the list of what failed
        if before is None or end.at_us > before.at_us:
            fresh[place] = end
    return fresh


async def remember(policies: Policies, writer: Writer, member: Membership) -> None:
    """Keep every end that is seen until cancelled. Of several evaluators one does it."""
    known = known_ends(writer.totals.stored())
    while True:
        await asyncio.sleep(EVERY_S)
        if not policies.synced.is_set() or not member.leads:
            continue
        changed = policies.take_changed()
        seen = _seen(policies, changed)
        try:
            if news(seen, known):
                known = await _keep(seen, writer)
        except StoreError as error:
            policies.note_changed(changed)
            log.warning("how rollouts ended cannot be kept, will try again: %s", error)


def _seen(policies: Policies, changed: frozenset[str]) -> list[tuple[Place, End]]:
    """Return what some policies say of ends."""
    revisions: dict[str, list[RoutingPolicyRevision]] = defaultdict(list)
    if changed:
        for key, revision in policies.revision_objects(changed):
            revisions[key].append(revision)
    found: list[tuple[Place, End]] = []
    for key in changed:
        policy = policies.object(key)
        if policy is not None:
            found += ends(policy, [one for one in revisions[key] if _is_its_own(one, policy)])
    return found


def _is_its_own(revision: RoutingPolicyRevision, policy: RoutingPolicy) -> bool:
    """Tell whether a revision is this policy's, and not that of an earlier one of the same name."""
    owners = revision.metadata.owner_references
    return any(owner.get("controller") and owner.get("uid") == policy.metadata.uid for owner in owners)


async def _keep(seen: list[tuple[Place, End]], writer: Writer) -> dict[Place, End]:
    """Write what is new to the store as it is now: another evaluator may have; return what it holds then."""
    held = await writer.call(lambda store: store.all_totals())
    known = known_ends(held)
    fresh = news(seen, known)
    gone = [s for s in held if s.family == Evidence.ENDED and Place(*s.labels[:4]) in fresh]
    values = {series_of_end(place, end): end.at_us for place, end in fresh.items()}
    await writer.call(lambda store: put_ends(store, values, gone))
    writer.totals.drop(gone)
    writer.totals.add(values)
    return known | fresh


def _micros(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1_000_000)
