"""From stored requests to counts, on SQLite and PostgreSQL: each once, in its own arm, step and intent."""

from __future__ import annotations

from typing import Any

import pytest

from evaluator_builders import (
    CANDIDATE,
    POLICY,
    POLITE,
    REVISION,
    ROLLOUT,
    capture,
    known_policies,
    policy_object,
    record,
    revision_object,
    rollout_status,
)
from evaluator_rig import Rig
from pointsman.api.v1alpha1.rubrics import Rubric, rubric_version
from pointsman.evaluator import scoring as scoring_module
from pointsman.evaluator.answer import Kept
from pointsman.evaluator.cases import ScoredRequest
from pointsman.evaluator.evidence import EVIDENCE, Evidence
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.summary import Window, summarize
from pointsman.evaluator.writer import Writer
from wait import until

VERSION = rubric_version(Rubric.model_validate(POLITE))


def served(number: int, arm: str = "incumbent", **changes: Any) -> AccessRecord:
    """Return a captured request of the rollout's arm."""
    revision = {} if arm == "incumbent" else {"revision": CANDIDATE}
    return record(
        number, **({"captured": True, "rollout": ROLLOUT, "step": 3, "arm": arm} | revision | changes)
    )


def texts(number: int, answer: str) -> list[Any]:
    """Return both halves of a request's text."""
    body = Kept("json", '{"model":"auto","messages":[{"role":"user","content":"Hi"}]}', truncated=False)
    return [
        capture(number, kept=body, turn_sha256="t"),
        capture(number, "response", kept=Kept("text", answer, truncated=False)),
    ]


def counts(writer: Writer, family: Evidence, **labels: str) -> int:
    """Return the sum of a family's series that have these labels."""
    names = EVIDENCE[family].labels
    return sum(
        value
        for series, value in writer.totals._stored.items()
        if series.family == family
        and all(dict(zip(names, series.labels, strict=True))[name] == said for name, said in labels.items())
    )


def rubrics(writer: Writer, **labels: str) -> tuple[int, int]:
    """Return passes and fails of the text rubric."""
    found = {"rubric": "polite", "version": VERSION} | labels
    return (
        counts(writer, Evidence.RESULTS, outcome="pass", **found),
        counts(writer, Evidence.RESULTS, outcome="fail", **found),
    )


async def settled(writer: Writer, number: int) -> None:
    """Wait until so many requests of the rollout are counted by the guards."""
    await until(lambda: counts(writer, Evidence.RESULTS, rubric="answered") == number, 5, what="all counted")


def offer(writer: Writer, *items: Any) -> None:
    for item in items:
        writer.offer(item)


async def test_each_request_counts_in_its_arm_step_and_intent(rig: Rig) -> None:
    """Text before or after the log entry: the rubric's verdict and every guard are counted once."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    policies.put_revision(f"chat/{REVISION}", revision_object(bundle="ab"))
    policies.put_revision(f"chat/{CANDIDATE}", revision_object(CANDIDATE, bundle="ab"))
    async with rig.scoring(policies) as (writer, _):
        offer(writer, served(1), *texts(1, "Yes, please"))
        offer(writer, *texts(2, "No"), served(2, "candidate", step=4, intent="math"))
        await settled(writer, 2)
        placed = {"stage": "canary", "tier": "cheap"}
        assert rubrics(writer, arm="incumbent", step="3", intent="law", **placed) == (1, 0)
        assert rubrics(writer, arm="candidate", step="4", intent="math", **placed) == (0, 1)
        for rubric in ("answered", "aborted", "failOpen", "refusal", "retry"):
            assert counts(writer, Evidence.RESULTS, rubric=rubric, version="guard", outcome="pass") == 2


async def test_what_has_no_text_counts_for_the_guards_and_says_why(rig: Rig) -> None:
    """Not captured, an error, an empty answer: unscored by the rubric, each with its reason, at once."""
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, _):
        offer(
            writer,
            served(1, captured=False),
            served(2, captured=False, status=503),
            served(3, empty=True),
            capture(3),
        )
        await settled(writer, 3)
        assert counts(writer, Evidence.RESULTS, rubric="answered", outcome="fail") == 2
        unscored = {
            because: counts(writer, Evidence.UNSCORED, rubric="polite", because=because)
            for because in ("not_captured", "no_answer", "dropped")
        }
        assert unscored == {"not_captured": 1, "no_answer": 2, "dropped": 0}
        assert rubrics(writer) == (0, 0)


async def test_a_failover_is_a_failure_of_the_chosen_tier_alone(rig: Rig) -> None:
    """The fallback's answer saves the client, not the arm: one `answered` result, and it is a fail."""
    async with rig.scoring(known_policies(status=rollout_status())) as (writer, _):
        offer(writer, served(1, "candidate", captured=False, served_tier="strong"))
        await settled(writer, 1)
        failed = {"rubric": "answered", "arm": "candidate", "outcome": "fail"}
        assert counts(writer, Evidence.RESULTS, tier="cheap", **failed) == 1
        assert counts(writer, Evidence.RESULTS, rubric="retry", outcome="fail", tier="strong") == 1


async def test_text_that_does_not_come_is_given_up_and_never_counted_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One half lacks for ten seconds: unscored as dropped. Its late half is stored, and changes nothing."""
    monkeypatch.setattr(scoring_module, "TEXT_WAIT_S", 0.2)
    monkeypatch.setattr(scoring_module, "TICK_S", 0.05)
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, scoring):
        request, response = texts(1, "please")
        offer(writer, served(1), request)
        await until(lambda: POLICY in scoring.scored_until_us(1 << 60))
        await settled(writer, 1)
        offer(writer, response)
        await until(lambda: rig.value("pointsman_captures_total", **_stored("response")) == 1)
        assert counts(writer, Evidence.UNSCORED, because="dropped") == 1
        assert rubrics(writer) == (0, 0)
        assert scoring.scored_until_us(1 << 60) == {}


def _stored(half: str) -> dict[str, str]:
    return {"namespace": "chat", "policy": "support", "half": half, "outcome": "stored"}


async def test_a_long_answer_is_scored_by_the_text_of_the_store(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request came before memory reaches back: it is read from the store, without waiting."""
    monkeypatch.setattr(scoring_module, "TICK_S", 0.05)
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, scoring):
        offer(writer, *texts(1, "please"))
        await until(lambda: rig.value("pointsman_captures_total", **_stored("response")) == 1)
        scoring._texts.drop(POLICY, "request-1")
        offer(writer, served(1, duration_us=90_000_000))
        await settled(writer, 1)
        assert rubrics(writer) == (1, 0)


async def test_duplicates_count_once(rig: Rig) -> None:
    """Entries and texts that are delivered twice, before and after scoring."""
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, _):
        both = [served(1), *texts(1, "please")]
        offer(writer, *both, *both)
        await settled(writer, 1)
        offer(writer, *both, served(2, captured=False))
        await settled(writer, 2)
        assert rubrics(writer) == (1, 0)


async def test_a_changed_rubric_counts_under_another_version(rig: Rig) -> None:
    """From the change on; what was counted before stays under the old one."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    async with rig.scoring(policies) as (writer, _):
        offer(writer, served(1), *texts(1, "please"))
        await settled(writer, 1)
        ruder: dict[str, Any] = POLITE | {"contains": {"none": ["please"]}}
        policies.put_policy(POLICY, policy_object(rubrics=[ruder], status=rollout_status()))
        offer(writer, served(2), *texts(2, "please"))
        await settled(writer, 2)
        assert rubrics(writer) == (1, 0)
        newer = rubric_version(Rubric.model_validate(ruder))
        assert rubrics(writer, version=newer) == (0, 1)


async def test_the_revision_in_force_is_measured_in_halves_without_a_rollout(rig: Rig) -> None:
    """By session: all of a session's requests fall in one half; other revisions' count for nothing."""
    policies = known_policies(rubrics=[POLITE], status={"stableRevision": record().revision})
    async with rig.scoring(policies) as (writer, _):
        for number in range(40):
            session = {"session": f"s-{number % 4}", "captured": False}
            offer(writer, record(number, **session), record(100 + number, revision=CANDIDATE, **session))
        answered = {"rubric": "answered", "outcome": "pass"}
        await until(lambda: counts(writer, Evidence.HALVES, **answered) == 40)
        halves = [counts(writer, Evidence.HALVES, half=half, **answered) for half in "ab"]
        assert all(half % 10 == 0 for half in halves)
        moments = {
            m: counts(writer, Evidence.MOMENTS, rubric="answered", moment=m) for m in ("xx", "xn", "nn")
        }
        assert moments == {"xx": 400, "xn": 400, "nn": 400}  # four sessions of ten passes in ten
        assert counts(writer, Evidence.RESULTS) == 0


async def test_totals_are_what_the_rows_say(rig: Rig) -> None:
    """Counted anew, every family is what was counted as it went."""
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, _):
        for number in range(30):
            arm = "candidate" if number % 3 else "incumbent"
            status = 503 if number % 7 == 0 else 200
            session = f"s-{number % 5}" if number % 2 else ""
            offer(writer, served(number, arm, status=status, session=session))
            offer(writer, *texts(number, "please" if number % 4 else "no"))
        await settled(writer, 30)
    with rig.opened() as store:
        totals, rows = store.all_totals(), store.recount()
        assert {series: totals[series] for series in rows} == dict(rows)
        assert sum(rows[series] for series in rows if series.family == Evidence.RESULTS) > 30
        assert store.damage() == []
        assert store.pending() == []


async def test_a_restart_takes_up_what_was_pending(rig: Rig) -> None:
    """Stored and not scored when the process died: scored by the next, by the text of the store, once."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    async with rig.writer(policies) as writer:  # nobody scores: as if killed before
        offer(writer, served(1), *texts(1, "please"), served(2, "candidate", status=502, captured=False))
    with rig.opened() as store:
        before = dict(store.pending())
    assert [entry.request_id for entry in before.values()] == ["request-1", "request-2"]
    for _ in range(2):
        async with rig.scoring(policies) as (writer, scoring):
            await until(lambda: scoring.resumed and not scoring.scored_until_us(1 << 60))
            await settled(writer, 2)
            assert rubrics(writer, arm="incumbent") == (1, 0)
            assert counts(writer, Evidence.RESULTS, arm="candidate", rubric="answered", outcome="fail") == 1


async def test_a_rollout_that_is_over_is_dropped_after_a_while_for_good(rig: Rig) -> None:
    """Fifteen minutes after its end its series are gone; a straggler does not bring them back."""
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    ended = rollout_status(endedAt="2026-09-21T14:20:00.000000Z", outcome="Promoted")
    async with rig.scoring(policies) as (writer, _):
        offer(writer, served(1), *texts(1, "please"))
        await settled(writer, 1)
        policies.put_policy(POLICY, policy_object(rubrics=[POLITE], status=ended))
        for minutes, left in ((20, 1), (7, 0)):
            rig.clock.go(minutes * 60)
            await rig.sweep(writer, policies)
            assert counts(writer, Evidence.RESULTS, rubric="answered") == left
        offer(writer, served(2, captured=False))
        await until(lambda: counts(writer, Evidence.HALVES, rubric="answered") == 2)
        assert counts(writer, Evidence.RESULTS) == 0
    with rig.opened() as store:
        assert store.damage() == []
        totals, rows = store.all_totals(), store.recount()
        assert {series: totals[series] for series in rows} == dict(rows)


async def test_the_summary_tells_each_arm_by_rubric_and_intent(rig: Rig) -> None:
    """Passes, fails and coverage of the rollout, as the counters have them."""
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, _):
        offer(writer, served(1), *texts(1, "please"), served(2), *texts(2, "no"))
        offer(writer, served(3, "candidate", captured=False), record(4, captured=False))
        await settled(writer, 3)
    (told,) = summarize(rig.place, Window(POLICY))["rollouts"]
    assert (told["rollout"], told["requests"], told["pending"]) == (ROLLOUT, 3, 0)
    polite = [entry for entry in told["rubrics"] if entry["rubric"] == "polite"]
    named = {"rubric": "polite", "version": VERSION}
    assert polite == [named | {"arm": "incumbent", "intent": "", "pass": 1, "fail": 1}]
    assert told["coverage"] == [
        named | {"arm": "candidate", "scored": 0, "unscored": {"not_captured": 1}, "coveragePermille": 0},
        named | {"arm": "incumbent", "scored": 2, "unscored": {}, "coveragePermille": 1000},
    ]
    guards = [e for e in told["rubrics"] if e["rubric"] == "answered" and e["arm"] == "candidate"]
    assert [(entry["pass"], entry["fail"]) for entry in guards] == [(1, 0)]


async def test_who_listens_hears_of_scores_that_are_stored(rig: Rig) -> None:
    """Of requests of a rollout, with outcomes by rubric and their versions."""
    heard: list[ScoredRequest] = []
    async with rig.scoring(known_policies(rubrics=[POLITE], status=rollout_status())) as (writer, scoring):
        scoring.on_scored.append(heard.append)
        offer(writer, served(1), *texts(1, "no"), record(2, captured=False))
        await until(lambda: counts(writer, Evidence.HALVES, rubric="answered") == 2)
    assert [one.record.request_id for one in heard] == ["request-1"]
    assert heard[0].outcomes["polite"] is False
    assert heard[0].outcomes["answered"] is True
    assert heard[0].versions == dict.fromkeys(heard[0].outcomes, "guard") | {"polite": VERSION}
    assert heard[0].answer == "no"


async def test_the_intent_is_of_the_reference_classifier_alone(rig: Rig) -> None:
    """What another classifier said of the candidate's requests is not used; unanswered, it is unknown."""
    policies = known_policies(status=rollout_status())
    policies.put_revision(f"chat/{REVISION}", revision_object(bundle="ab"))
    policies.put_revision(f"chat/{CANDIDATE}", revision_object(CANDIDATE, bundle="cd"))
    async with rig.scoring(policies) as (writer, _):
        offer(writer, served(1), *texts(1, "a"), served(2, "candidate"), *texts(2, "b"))
        await settled(writer, 2)
        assert counts(writer, Evidence.RESULTS, rubric="answered", arm="incumbent", intent="law") == 1
        assert counts(writer, Evidence.RESULTS, rubric="answered", arm="candidate", intent="") == 1
