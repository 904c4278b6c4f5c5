"""Gate runs, through a real Envoy and a real Triton: every case once, on both sides, also after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundles import PROSE, SUMS
from shadow_stack import POLICY, Evaluator, Stack, dataset, evaluation, evaluator
from wait import until

RIGHT, WRONG = "The answer is A", "The answer is B"
SUM_PROMPTS = [f"Case {n}: {' '.join(SUMS[:5])}?" for n in range(8)]
PROSE_PROMPTS = [f"Case {n}: {' '.join(PROSE[:5])}?" for n in range(4)]
PROMPTS = SUM_PROMPTS + PROSE_PROMPTS


@pytest.fixture
def policy(stack: Stack, tmp_path: Path) -> dict[str, Any]:
    """Return a policy in its gate: cheap answers one of four sums wrong, every right answer is A."""
    stack.models.answers("small", {p: RIGHT if n % 4 else WRONG for n, p in enumerate(SUM_PROMPTS)})
    stack.models.answers("large", dict.fromkeys(PROMPTS, RIGHT))
    # The rubric's own data set knows other prompts: the gate brings its references along.
    other = dataset(tmp_path / "other.jsonl", {"Something else?": "B"})
    cases = dataset(tmp_path / "cases.jsonl", dict.fromkeys(PROMPTS, "A"), group="g", intent="sums")
    rollout = {"shadow": {"budgetUSDPerHour": "100"}}
    return stack.policy(step="Gate", evaluation=evaluation(other, gate={"dataset": cases}), rollout=rollout)


def cases(running: Evaluator) -> dict[str, float]:
    """Return the gate's cases by state."""
    return {state: n for (state,), n in running.counts("pointsman_gate_cases", "state").items() if n}


def moments(running: Evaluator, rubric: str) -> dict[str, float]:
    """Return a rubric's sums."""
    found = running.counts("pointsman_gate_moments", "rubric", "moment")
    return {moment: n for (name, moment), n in found.items() if name == rubric}


async def test_both_sides_answer_every_case_once(
    stack: Stack, policy: dict[str, Any], tmp_path: Path
) -> None:
    """Where both choose one tier it is asked once; pairs, moments and progress are those of the records."""
    async with evaluator(stack, tmp_path / "s.sqlite", policy) as running:
        await until(lambda: cases(running).get("scored") == 12, 20, what="scored cases")
        assert cases(running) == {"total": 12, "scored": 12}
        assert running.pairs("correct") == {"both": 10, "only_incumbent": 2}
        assert running.pairs("answered") == {"both": 12}
        assert moments(running, "correct") == {
            "n": 12, "d": 2, "dd": 2, "clusters": 1, "DD": 4, "Dn": 24, "nn": 144,
        }  # fmt: skip
    assert len(stack.models.ledger("small", gate=True)) == 8
    assert len(stack.models.ledger("large", gate=True)) == 12


async def test_a_restart_goes_on_where_it_was_cut(
    stack: Stack, policy: dict[str, Any], tmp_path: Path
) -> None:
    """Cases that are in the store are not asked again, and none is counted twice."""
    store = tmp_path / "s.sqlite"
    stack.models.faults("small", delay_ms=400)
    async with evaluator(stack, store, policy) as running:
        await until(lambda: cases(running).get("scored", 0) >= 4, 20, what="some cases")
    asked = len(stack.models.ledger("large", gate=True))
    stack.models.faults("small")
    async with evaluator(stack, store, policy) as running:
        await until(lambda: cases(running).get("scored") == 12, 20, what="scored cases")
        assert running.pairs("correct") == {"both": 10, "only_incumbent": 2}
    # prose is done at once; the sums that were cut are asked once more
    assert len(stack.models.ledger("large", gate=True)) <= asked + 8


async def test_a_tier_that_never_answers_fails_its_cases(
    stack: Stack, policy: dict[str, Any], tmp_path: Path
) -> None:
    """After three attempts the case is given up; `answered` says whose fault it was."""
    stack.models.faults("small", status=500)
    async with evaluator(stack, tmp_path / "s.sqlite", policy) as running:
        await until(lambda: sum(cases(running).values()) == 24, 40, what="all cases")
        assert cases(running) == {"total": 12, "scored": 4, "failed": 8}
        assert running.pairs("answered") == {"both": 4, "only_incumbent": 8}
        assert running.pairs("correct") == {"both": 4}
    assert len(stack.models.ledger("small", gate=True)) == 3 * 8


async def test_a_gate_waits_for_its_way_and_for_money(
    stack: Stack, policy: dict[str, Any], tmp_path: Path
) -> None:
    """Without a budget nothing is asked, and once there is one the run goes on by itself."""
    policy["spec"]["rollout"]["shadow"]["budgetUSDPerHour"] = "0.0001"
    async with evaluator(stack, tmp_path / "s.sqlite", policy) as running:
        await until(lambda: cases(running).get("total") == 12, 20, what="the number of cases")
        assert cases(running) == {"total": 12}
        assert stack.models.ledger("large", gate=True) == []
        policy["spec"]["rollout"]["shadow"]["budgetUSDPerHour"] = "100"
        running.policies.put_policy(POLICY, policy)
        await until(lambda: cases(running).get("scored") == 12, 20, what="scored cases")


async def test_a_gate_that_is_over_asks_no_more(stack: Stack, policy: dict[str, Any], tmp_path: Path) -> None:
    """When the rollout leaves its gate, what is under way ends."""
    stack.models.faults("small", delay_ms=2000)
    async with evaluator(stack, tmp_path / "s.sqlite", policy) as running:
        await until(lambda: stack.models.ledger("large", gate=True) or None, 20)
        policy["status"]["rollout"]["steps"][0]["name"] = "Load"
        running.policies.put_policy(POLICY, policy)
        await until(lambda: not running.offpath.gates_running, 10, what="no gate")
    assert cases(running).get("scored", 0) < 12
