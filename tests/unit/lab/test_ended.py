"""Whether a scene came out right, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pointsman.lab.demo import show
from pointsman.lab.demo.acts import Change, Scene
from pointsman.lab.demo.ended import Ended, Pairs, judge
from pointsman.lab.demo.tally import Counts

BETTER = Change(-5.0, {"law": 3.0, "math": -40.0}, {}, (0.69, 0.70), (1.6, 1.2), 0.4)
HIDDEN = Change(18.0, {"law": 0.0, "engineering": 287.0}, {}, (0.69, 0.67), (1.0, 0.95), 0.1)
SAME = Change(0.0, {"law": 0.0}, {}, (0.69, 0.69), (1.0, 1.0), 0.0)
BEFORE, AFTER = Counts(1000, 0, 0, 690, 1.6, 1.6), Counts(1000, 0, 0, 700, 1.2, 1.6)


def _verdict(rubric: str, intent: str, word: str = "Fail") -> dict[str, Any]:
    return {
        "rubric": rubric,
        "intent": intent,
        "stage": "Canary",
        "incumbent": 420,
        "candidate": 138,
        "dropPermille": 287,
        "lowPermille": 91,
        "highPermille": 440,
        "failBeyondPermille": 40,
        "passWithinPermille": 150,
        "verdict": word,
    }


def _ended(scene: Scene, verdicts: list[dict[str, Any]], weight: int = 250) -> Ended:
    rollout = {
        "id": "0123abcd",
        "candidate": "exam-1",
        "outcome": scene.ends,
        "steps": [{"index": 0, "name": "Noise"}, {"index": 1, "name": "Canary", "weightPermille": weight}],
    }
    traffic = [{"revision": "exam-1", "weightPermille": 1000}] if scene.ends == "Promoted" else []
    note = f"{verdicts[0]['rubric']} in {verdicts[0]['intent']}: drop 28.7 points" if verdicts else ""
    return Ended(
        scene=scene,
        status={"rollout": rollout, "verdicts": verdicts, "traffic": traffic},
        record={"rollout": rollout},
        events=[{"reason": scene.ends, "note": note}],
        seconds=60.0,
        before=BEFORE,
        during=AFTER,
        after=AFTER,
        on_candidate=300 if weight else 0,
        lag_ms=40.0 if weight else None,
        served={"tier-small": (0, 150)},
    )


PROMOTED = _ended(Scene("1.yaml", "better", "Promoted"), [_verdict("correct", "law", "Pass")])
REFUSED = _ended(Scene("3.yaml", "hidden", "ShadowFailed"), [_verdict("correct", "engineering")], 0)
ROLLED = _ended(Scene("4.yaml", "hidden", "RolledBack"), [_verdict("correct", "engineering")])
BROKEN = _ended(Scene("5.yaml", "broken", "RolledBack", "errors"), [_verdict("answered", "")])


@pytest.mark.parametrize(
    ("ended", "change"), [(PROMOTED, BETTER), (REFUSED, HIDDEN), (ROLLED, HIDDEN), (BROKEN, SAME)]
)
def test_what_ended_as_foretold_is_right(ended: Ended, change: Change) -> None:
    """One of each kind."""
    assert judge(ended, change) == []


def _with(ended: Ended, **status: Any) -> Ended:
    return replace(ended, status={**ended.status, **status})


@pytest.mark.parametrize(
    ("ended", "change", "said"),
    [
        (replace(PROMOTED, late=True), BETTER, "no end after 60 s"),
        (_with(PROMOTED, rollout={"outcome": "RolledBack", "because": "x"}), BETTER, "not as Promoted: x"),
        (_with(PROMOTED, traffic=[]), BETTER, "traffic in force"),
        (replace(PROMOTED, after=replace(AFTER, failed=1)), BETTER, "requests failed"),
        (replace(PROMOTED, after=replace(AFTER, right=500)), BETTER, "quality is 50.0%"),
        (replace(PROMOTED, after=replace(AFTER, cost_usd=1.6)), BETTER, "it saves 0.0%"),
        (replace(PROMOTED, record=None), BETTER, "no record"),
        (replace(REFUSED, on_candidate=1), HIDDEN, "1 users' requests met it"),
        (replace(REFUSED, served={"tier-small": (2, 150)}), HIDDEN, "2 clients' requests and 150 replays"),
        (_with(ROLLED, verdicts=[]), HIDDEN, "no verdict says Fail"),
        (_with(ROLLED, verdicts=[_verdict("correct", "law")]), HIDDEN, "not by engineering"),
        (replace(ROLLED, events=[]), HIDDEN, "no event RolledBack names correct and engineering"),
        (replace(ROLLED, on_candidate=0), HIDDEN, "never had traffic"),
        (_with(BROKEN, verdicts=[_verdict("correct", "")]), SAME, "no guard rubric"),
    ],
)
def test_what_did_not_is_told(ended: Ended, change: Change, said: str) -> None:
    """Each way of going wrong has its words."""
    assert any(said in problem for problem in judge(ended, change))


def test_a_rollback_is_told_with_every_number() -> None:
    """Rubric, intent, samples, drop, interval, margins, and the delay of the last wrong decision."""
    text = " ".join(show.why(ROLLED))
    for part in (
        "correct",
        "engineering",
        "138",
        "28.7",
        "9.1 to 44.0",
        "beyond 4.0",
        "within 15.0",
        "40 ms",
    ):
        assert part in text


def test_the_average_alone_would_have_passed() -> None:
    """300 of 3,000 pairs differ, a little more to the worse."""
    ended = replace(REFUSED, pairs=Pairs(only_incumbent=180, only_candidate=120, total=3000))
    said = show.aggregate(ended, tolerated_permille=60)
    assert said is not None
    assert "drop 2.0 points" in said
    assert "would have let it through" in said
    assert show.aggregate(REFUSED, 60) is None


def test_a_line_says_where_the_rollout_is() -> None:
    """Step, weight, worst stream, needs."""
    status = {
        **ROLLED.status,
        "traffic": [{"revision": "exam-1", "weightPermille": 250}],
        "step": {"name": "Canary", "display": "Canary 1/2", "samplesNeeded": 1200, "minutesNeeded": 2},
    }
    assert show.where(status) == (
        "Canary 1/2 · weight 25 % · correct in engineering: drop 28.7 (9.1 … 44.0) of 138 · "
        "needs about 1,200 more answers, 2 min"
    )
