"""From counts to what is judged: streams, windows, halves, and the names that all rooms share."""

from __future__ import annotations

from math import inf, sqrt

import pytest

from pointsman.api.v1alpha1.status import NoiseOfRubric, NoiseStatus
from pointsman.evaluator.guards import Rubric
from pointsman.rollout.evidence import Evidence, HalfWindow, PairCounts, StreamKey, Tally, Window
from pointsman.rollout.question import GUARDS, question
from pointsman.rollout.streams import Wobble, blocks_of, pairs_of, streams, whole, windows_of
from pointsman.stats.budget import POOLED
from rollout_world import RUBRIC, policy


def windows(*totals: int, step: int = 1) -> tuple[Window, ...]:
    """Return windows of ten seconds with these totals of the incumbent, all of it passed."""
    return tuple(Window(step, 10.0 * n, Tally(t, t), Tally()) for n, t in enumerate(totals))


def seen(**by_intent: int) -> dict[StreamKey, tuple[Window, ...]]:
    """Return one window with these totals by intent, and their sum overall."""
    counts = {StreamKey(RUBRIC, intent): windows(total) for intent, total in by_intent.items()}
    return {StreamKey(RUBRIC): windows(sum(by_intent.values())), **counts}


def test_guards_are_the_evaluator_s() -> None:
    """What the evaluator counts always, is asked for always."""
    assert set(GUARDS) == {rubric.value for rubric in Rubric}


def test_small_intents_are_pooled_not_skipped() -> None:
    """Each intent from 4 % on is a stream, the others are one; shares are of the rubric's traffic."""
    found = streams(Evidence(at_s=0, canary=seen(law=600, math=340, art=30, music=30)), RUBRIC, None)
    assert [stream.intent for stream in found] == ["", "law", "math", POOLED]
    assert [stream.share for stream in found] == [1.0, 0.6, 0.34, 0.06]
    assert found[-1].members == (StreamKey(RUBRIC, "art"), StreamKey(RUBRIC, "music"))


def test_the_canary_changes_no_stream() -> None:
    """What served before the first weight says how the traffic is composed, once and for all."""
    early = {
        StreamKey(RUBRIC): windows(1000, step=1),
        StreamKey(RUBRIC, "law"): windows(950, step=1),
        StreamKey(RUBRIC, "art"): windows(30, step=1),
    }
    late = {key: (*its, Window(2, 99.0, Tally(900, 900), Tally(9, 9))) for key, its in early.items()}
    found = streams(Evidence(at_s=0, canary=late), RUBRIC, 2)
    assert [(stream.intent, stream.share) for stream in found[1:]] == [("law", 0.95), (POOLED, 0.03)]


def test_windows_are_summed_where_they_are_the_same() -> None:
    """A pooled stream adds its intents up window by window and step by step."""
    canary = {
        StreamKey(RUBRIC, "art"): (
            Window(1, 0.0, Tally(1, 2), Tally(3, 4)),
            Window(2, 0.5, Tally(1, 1), Tally(1, 1)),
        ),
        StreamKey(RUBRIC, "music"): (Window(1, 0.0, Tally(10, 20), Tally(30, 40)),),
    }
    both = Evidence(at_s=0, canary=canary)
    pooled = streams(Evidence(at_s=0, canary=seen(law=980, art=10, music=10)), RUBRIC, None)[-1]
    blocks = blocks_of(pooled, both, (0.0, 0.5, 7.0))
    assert blocks.incumbent_passes.tolist() == [11, 1]
    assert blocks.candidate_total.tolist() == [44, 1]
    assert blocks.starts == (0, 1, 2)


def test_pairs_of_a_stream_are_its_members() -> None:
    """Paired outcomes add up."""
    shadow = {
        StreamKey(RUBRIC, "art"): PairCounts(1, 2, 3, 4),
        StreamKey(RUBRIC, "music"): PairCounts(1, 1, 1, 1),
    }
    pooled = streams(Evidence(at_s=0, canary=seen(law=980, art=10, music=10)), RUBRIC, None)[-1]
    pairs = pairs_of(pooled, Evidence(at_s=0, shadow=shadow))
    assert (pairs.both, pairs.only_incumbent, pairs.only_candidate, pairs.neither) == (2, 3, 4, 5)


def test_only_windows_with_both_halves_count() -> None:
    """A window in which one half of the sessions has no scored answer measures nothing."""
    some, none = Tally(9, 10), Tally()
    found = (HalfWindow(some, some), HalfWindow(some, none), HalfWindow(some, some))
    halves: dict[StreamKey, tuple[HalfWindow, ...]] = {StreamKey(RUBRIC): found}
    assert windows_of(RUBRIC, Evidence(at_s=0, halves=halves)) == 2


def test_an_intent_without_windows_has_its_share_of_the_noise() -> None:
    """What was measured overall is scaled by the share; without that, what the status remembers."""
    half = HalfWindow(Tally(900, 1000), Tally(700, 1000))
    measured = Evidence(at_s=0, halves={StreamKey(RUBRIC): (half,) * 8})
    law = streams(Evidence(at_s=0, canary=seen(law=250, math=750)), RUBRIC, None)[1]
    overall = Wobble(RUBRIC, measured, 1.5).of(whole(RUBRIC)).tau_star
    assert Wobble(RUBRIC, measured, 1.5).of(law).tau_star == pytest.approx(overall / sqrt(0.25))
    known = NoiseStatus(
        revision="r",
        windows=8,
        window="5s",
        rubrics=[NoiseOfRubric(rubric=RUBRIC, tau_permille="10.0", tau_star_permille="15.0", phi="1.00")],
    )
    lost = Evidence(at_s=0)
    assert Wobble(RUBRIC, lost, 1.5, known).of(whole(RUBRIC)).tau_star == pytest.approx(0.015)
    assert Wobble(RUBRIC, lost, 1.5).of(whole(RUBRIC)).tau_star == inf


def test_the_question_at_rest_is_about_what_serves() -> None:
    """Without a rollout no id and no steps are asked for, but the noise of what is in force."""
    asked = question(policy())
    assert (asked.rollout, asked.steps, asked.incumbent, asked.stable) == (
        "",
        (),
        "always-strong",
        "always-strong",
    )
    assert asked.window_s == 5
    assert asked.noise_windows >= 8
