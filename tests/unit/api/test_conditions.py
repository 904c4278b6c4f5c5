"""Conditions: when the transition time moves, and which cause `Ready` names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from pointsman.api.conditions import (
    REASONS,
    STALLED,
    AcceptedReason,
    ClassifierReadyReason,
    ConditionReason,
    ConditionType,
    ProgrammedReason,
    ProgressingReason,
    condition,
    find,
    set_condition,
    summarize,
    summed_up,
)
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS
from pointsman.clock import rfc3339

if TYPE_CHECKING:
    from pointsman.api.v1alpha1.meta import Condition

T0 = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
T1 = T0 + timedelta(minutes=1)
GENERATION = 3
EVERY = (REASONS, GATEWAY_REASONS, POOL_REASONS)
ALL_TRUE: tuple[ConditionReason, ...] = (
    AcceptedReason.ACCEPTED,
    ClassifierReadyReason.LOADED,
    ProgrammedReason.ACKNOWLEDGED,
    ProgressingReason.PROMOTED,
)


def conditions(*reasons: ConditionReason, generation: int = GENERATION) -> list[Condition]:
    """Return one condition per reason, as of T0."""
    return [condition(r, "", generation, T0) for r in reasons]


def test_a_first_condition_is_stamped_now() -> None:
    """A condition that was not there has changed now, whatever time it was built with."""
    (only,) = set_condition([], condition(AcceptedReason.ACCEPTED, "", 1, T0), T1)
    assert only.last_transition_time == rfc3339(T1)


def test_the_same_status_keeps_its_transition_time() -> None:
    """Another reason, message and generation under the same status do not move the transition time."""
    old = conditions(ClassifierReadyReason.LOADING)
    new = condition(ClassifierReadyReason.DIGEST_MISMATCH, "sha256 differs", 9, T1)
    (only,) = set_condition(old, new, T1)
    assert only.last_transition_time == rfc3339(T0)
    assert (only.reason, only.message, only.observed_generation) == ("DigestMismatch", "sha256 differs", 9)


def test_a_new_status_moves_the_transition_time() -> None:
    """False to True is a transition."""
    (only,) = set_condition(
        conditions(ClassifierReadyReason.LOADING), condition(ClassifierReadyReason.LOADED, "", 3, T0), T1
    )
    assert (only.status, only.last_transition_time) == ("True", rfc3339(T1))


def test_other_conditions_stay_in_their_places() -> None:
    """Setting one condition neither reorders nor changes the others, and leaves the input as it was."""
    old = conditions(*ALL_TRUE)
    before = list(old)
    new = set_condition(old, condition(ClassifierReadyReason.LOADING, "", 4, T1), T1)
    assert [c.type for c in new] == [c.type for c in old]
    assert [c for c in new if c.type != "ClassifierReady"] == [c for c in old if c.type != "ClassifierReady"]
    assert old == before


def test_ready_when_all_are_true() -> None:
    """Four true conditions of this generation make Ready=True."""
    ready = summarize(conditions(*ALL_TRUE), GENERATION, T1)
    assert (ready.type, ready.status, ready.reason, ready.observed_generation) == (
        "Ready",
        "True",
        "Ready",
        GENERATION,
    )


@pytest.mark.parametrize(
    ("reasons", "status", "reason", "message"),
    [
        ((AcceptedReason.HOST_CONFLICT, *ALL_TRUE[1:]), "False", "HostConflict", "Accepted: An older policy"),
        (
            (
                ProgrammedReason.PENDING,
                ClassifierReadyReason.DIGEST_MISMATCH,
                AcceptedReason.ACCEPTED,
                ALL_TRUE[3],
            ),
            "False",
            "DigestMismatch",
            "ClassifierReady: ",
        ),
        ((*ALL_TRUE[:3], ProgressingReason.SUSPENDED), "False", "Suspended", "Progressing: suspend is true"),
        (
            (*ALL_TRUE[:2], ProgrammedReason.XDS_UNREACHABLE, ALL_TRUE[3]),
            "Unknown",
            "XdsUnreachable",
            "Programmed: ",
        ),
        (
            (*ALL_TRUE[:2], ProgrammedReason.XDS_UNREACHABLE, ProgressingReason.SUSPENDED),
            "False",
            "Suspended",
            "Progressing: ",
        ),
        (ALL_TRUE[:2], "Unknown", "Reconciling", "generation 3: Programmed, Progressing"),
    ],
)
def test_ready_names_the_first_cause(
    reasons: tuple[ConditionReason, ...], status: str, reason: str, message: str
) -> None:
    """False beats Unknown beats missing; among equals the fixed order decides, not the list's."""
    ready = summarize(conditions(*reasons), GENERATION, T1)
    assert (ready.status, ready.reason) == (status, reason)
    assert message in ready.message


def test_an_older_generation_does_not_count() -> None:
    """What was true, or false, of the previous spec says nothing about this one."""
    stale = conditions(AcceptedReason.HOST_CONFLICT, *ALL_TRUE[1:], generation=GENERATION - 1)
    assert (summarize(stale, GENERATION, T1).status, summarize(stale, GENERATION, T1).reason) == (
        "Unknown",
        "Reconciling",
    )


def test_ready_ignores_an_earlier_ready() -> None:
    """The previous summary is no cause of the next."""
    first = summarize(conditions(AcceptedReason.HOST_CONFLICT), GENERATION, T0)
    assert summarize([first, *conditions(*ALL_TRUE)], GENERATION, T1).status == "True"


def test_find_returns_none_for_a_type_that_is_not_there() -> None:
    """A missing condition is None, not an error."""
    assert find(conditions(*ALL_TRUE), ConditionType.READY) is None


def test_an_overlong_message_is_cut_to_the_schema_limit() -> None:
    """Envoy's words may be long; the status stays within the CRD's bound."""
    long = condition(ProgrammedReason.QUARANTINED, "x" * 40000, 1, T0)
    assert len(long.message) == 32768
    assert len(summarize([*conditions(*ALL_TRUE[:2]), long], 1, T0).message) == 32768


def test_times_are_utc_to_the_second() -> None:
    """Any zone becomes `Z`, and fractions are dropped, as the API server wants them."""
    assert rfc3339(T0.astimezone(timezone(timedelta(hours=2)))) == "2026-01-02T03:04:05Z"


def test_every_type_has_reasons_each_with_a_sentence() -> None:
    """The reasons cover each condition type once, are CamelCase, unique and explained in one sentence."""
    assert [r.TYPE for r in REASONS] == list(ConditionType)
    for reasons in REASONS:
        assert any(r.status == "True" for r in reasons)
        for reason in reasons:
            assert re.fullmatch(r"[A-Z][A-Za-z]+", reason.value)
            assert reason.sentence.endswith(".")
            assert reason.sentence.count(". ") == 0


def test_what_no_waiting_mends_is_stalled_until_it_is_over() -> None:
    """In the words of its cause, since it is so; without one, or of an older generation, it is not there."""
    over = conditions(*ALL_TRUE[:3], ProgressingReason.ROLLED_BACK)
    first = summed_up(over, GENERATION, T0)
    stalled = find(first, STALLED)
    assert stalled is not None
    assert (stalled.status, stalled.reason) == ("True", "RolledBack")
    assert stalled.message.startswith("Progressing: ")
    assert summed_up(first, GENERATION, T1) == first
    assert find(summed_up(first, GENERATION + 1, T1), STALLED) is None
    promoted = set_condition(first, condition(ProgressingReason.PROMOTED, "", GENERATION, T1), T1)
    assert [c.type for c in summed_up(promoted, GENERATION, T1)] == [r.TYPE.value for r in REASONS]


def test_what_may_pass_is_not_stalled() -> None:
    """A Secret, a gateway or a bundle that is applied a moment later comes right by itself."""
    for reason in (AcceptedReason.SECRET_NOT_FOUND, ProgressingReason.INCONCLUSIVE):
        others = [r for r in ALL_TRUE if r.TYPE != reason.TYPE]
        assert find(summed_up(conditions(*others, reason), GENERATION, T0), STALLED) is None


@pytest.mark.parametrize("reason", [r for reasons in EVERY for kind in reasons for r in kind if r.ends])
def test_only_what_is_not_true_is_the_end(reason: ConditionReason) -> None:
    """A reason with which the object is well stalls nothing; nor does `Ready`, which repeats its causes."""
    assert reason.status == "False"
    assert reason.TYPE.value != "Ready"
