"""How attempts ended: what a status and the records say, what is kept, and how it is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluator_builders import START_US
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.evaluator.ends import End, Place, ends, known_ends, news, series_of_end
from pointsman.evaluator.evidence import Evidence
from pointsman.evaluator.exposition import Exposition
from pointsman.evaluator.store import Store
from pointsman.evaluator.store.ends import put_ends
from pointsman.rollout.reading.ends import ends as read
from pointsman.rollout.reading.series import parse

PLACE = Place("chat", "support", "u-1", "support-0000000001")
AT = "2026-11-22T12:00:00.500000Z"
AT_US = 1_795_348_800_500_000


def policy(**status: Any) -> RoutingPolicy:
    """Return a policy with a status."""
    return RoutingPolicy.model_validate(
        {
            "apiVersion": "pointsman.dev/v1alpha1",
            "kind": "RoutingPolicy",
            "metadata": {"name": "support", "namespace": "chat", "uid": "u-1"},
            "spec": {
                "gatewayRef": {"name": "default"},
                "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
                "tiers": [{"name": "only", "endpoints": [{"url": "http://tier/v1"}], "model": "m"}],
                "strategy": {"type": "Pinned", "pinned": {"tier": "only"}},
            },
            "status": status,
        }
    )


def rollout(identity: str = "abcd1234", **changes: Any) -> dict[str, Any]:
    """Return a rollout that was rolled back."""
    found = {
        "id": identity,
        "candidate": PLACE.revision,
        "incumbent": "always-strong",
        "attempt": 2,
        "startedAt": "2026-11-22T11:00:00Z",
        "endedAt": AT,
        "outcome": "RolledBack",
    }
    return found | changes


def revision(*rollouts: dict[str, Any]) -> RoutingPolicyRevision:
    """Return a revision whose record tells of rollouts."""
    spec = policy().spec
    return RoutingPolicyRevision.model_validate(
        {
            "apiVersion": "pointsman.dev/v1alpha1",
            "kind": "RoutingPolicyRevision",
            "metadata": {"name": PLACE.revision, "namespace": "chat"},
            "spec": {
                "policyRef": {"name": "support"},
                "tiers": [tier.to_kube() for tier in spec.tiers],
                "strategy": spec.strategy.to_kube(),
            },
            "status": {"attempts": [{"rollout": one, "recordedAt": AT} for one in rollouts]},
        }
    )


def test_a_rollout_that_has_ended_is_told_with_its_id() -> None:
    """Once, though the list of what failed names it as well."""
    failed = {"revision": PLACE.revision, "outcome": "RolledBack", "at": AT, "attempts": 2}
    found = list(ends(policy(rollout=rollout(), failedRevisions=[failed]), ()))
    assert found == [(PLACE, End(AT_US, "abcd1234", 2, "RolledBack"))]
    assert not list(ends(policy(rollout=rollout(endedAt=None, outcome=None)), ()))


def test_a_break_glass_without_a_rollout_is_told_without_an_id() -> None:
    """Only the list of what failed knows of it."""
    failed = {"revision": PLACE.revision, "outcome": "ForcedStrong", "at": AT, "attempts": 1}
    found = list(ends(policy(failedRevisions=[failed]), ()))
    assert found == [(PLACE, End(AT_US, "", 1, "ForcedStrong"))]


def test_what_only_a_record_tells_is_told_too() -> None:
    """A superseded attempt is in no policy's status: the next one began in the same write."""
    found = list(ends(policy(), [revision(rollout(outcome="Superseded"))]))
    assert found == [(PLACE, End(AT_US, "abcd1234", 2, "Superseded"))]


def test_an_older_state_takes_nothing_from_what_is_known() -> None:
    """Only a later end of a revision replaces the one that is known."""
    known = {PLACE: End(AT_US, "abcd1234", 2, "RolledBack")}
    assert not news([(PLACE, End(AT_US - 1, "aaaa0000", 1, "Aborted"))], known)
    later = End(AT_US + 1, "ffff0000", 3, "Promoted")
    assert news([(PLACE, later)], known) == {PLACE: later}


def test_the_latest_end_of_a_revision_is_kept_once(tmp_path: Path) -> None:
    """Written twice it stays as it is; a later one takes its place; a store that is opened anew has it."""
    first, later = End(START_US, "aaaa0000", 1, "RolledBack"), End(START_US + 9, "bbbb0000", 2, "Promoted")
    with Store(tmp_path / "store.sqlite") as store:
        values = {series_of_end(PLACE, first): first.at_us}
        for _ in range(2):
            put_ends(store, values, ())
        assert known_ends(store.all_totals()) == {PLACE: first}
        put_ends(store, {series_of_end(PLACE, later): later.at_us}, values)
    with Store(tmp_path / "store.sqlite") as store:
        assert known_ends(store.totals()) == {PLACE: later}
        assert store.damage() == []


def test_what_is_shown_is_read_as_it_was() -> None:
    """From the evaluator's metrics, through Prometheus' words, to the operator: to the microsecond."""
    end = End(AT_US, "abcd1234", 2, "RolledBack")
    series = series_of_end(PLACE, end)
    exposition = Exposition()
    exposition.know([series])
    shown = [
        line
        for line in exposition.render(lambda _: end.at_us).decode().splitlines()
        if line.startswith(Evidence.ENDED)
    ]
    assert len(shown) == 1
    value = shown[0].rpartition(" ")[2]
    names = ("namespace", "policy", "uid", "revision", "ended", "attempt", "outcome")
    metric = dict(zip(names, series.labels, strict=True))
    [found] = read(parse([{"metric": metric, "value": [0.0, value]}]))["chat", "support"]
    assert found == ("u-1", PLACE.revision, "abcd1234", 2, "RolledBack", AT_US / 1e6)
