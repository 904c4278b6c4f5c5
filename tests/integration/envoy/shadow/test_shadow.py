"""The shadow, through a real Envoy with client certificates, a real Triton, and tiers that insist on keys."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bundles import PROSE, SUMS
from pointsman.contract import SHADOW_ID_PREFIX
from shadow_stack import POLICY, Stack, dataset, evaluation, evaluator, scored

RIGHT, WRONG = "The answer is A", "The answer is B"
SUM_PROMPTS = [f"Question {n}: {' '.join(SUMS[:5])}?" for n in range(6)]
PROSE_PROMPTS = [f"Question {n}: {' '.join(PROSE[:5])}?" for n in range(6)]


@dataclass
class Case:
    """A policy in its shadow, and requests whose outcomes are known."""

    policy: dict[str, Any]
    store: Path

    def requests(self, **body: Any) -> list[Any]:
        """Return twelve requests of the incumbent: all answered right but the last prose."""
        prompts = SUM_PROMPTS + PROSE_PROMPTS
        return [
            scored(n, prompt, self.policy, correct=prompt != PROSE_PROMPTS[-1], **body)
            for n, prompt in enumerate(prompts)
        ]


@pytest.fixture
def case(stack: Stack, tmp_path: Path) -> Case:
    """Let the cheap tier answer every other sum right; every prompt's right answer is A."""
    stack.models.answers("small", {p: RIGHT if n % 2 else WRONG for n, p in enumerate(SUM_PROMPTS)})
    stack.models.answers("large", dict.fromkeys(SUM_PROMPTS + PROSE_PROMPTS, RIGHT))
    data = dataset(tmp_path / "right.jsonl", dict.fromkeys(SUM_PROMPTS + PROSE_PROMPTS, "A"))
    shadow = {"shadow": {"samplePermille": 1000, "budgetUSDPerHour": "100"}}
    return Case(stack.policy(evaluation=evaluation(data), rollout=shadow), tmp_path / "requests.sqlite")


async def test_a_candidate_that_differs_gives_exactly_its_recorded_outcomes(stack: Stack, case: Case) -> None:
    """Sums are asked of the cheap tier, prose is where both agree: no answer is bought for it."""
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests():
            running.offpath.offer(request)
        assert await running.noted(12) == {"replayed": 6, "agreed": 6}
        assert running.pairs("correct") == {"both": 8, "only_incumbent": 3, "neither": 1}
        assert running.pairs("answered") == {"both": 12}
        # 120 tokens at 10 dollars a million, six times
        assert running.counts("pointsman_shadow_cost_usd_total") == {(): pytest.approx(0.0072)}
    entries = stack.models.ledger("small")
    assert len(entries) == 6
    assert all(entry["id"].startswith(SHADOW_ID_PREFIX) and entry["status"] == 200 for entry in entries)
    assert stack.models.ledger("large") == []


async def test_a_restart_doubles_nothing(stack: Stack, case: Case) -> None:
    """The same requests once more, to the next process on the same store, change no count."""
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests():
            running.offpath.offer(request)
        await running.noted(12)
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests():
            running.offpath.offer(request)
        running.offpath.offer(scored(99, SUM_PROMPTS[1], case.policy, correct=True))
        await running.noted(13)
        assert running.pairs("correct") == {"both": 9, "only_incumbent": 3, "neither": 1}


async def test_an_event_stream_is_read_as_a_whole(stack: Stack, case: Case) -> None:
    """What the client asked for as a stream is asked for as a stream, and scored the same."""
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests(stream=True, stream_options={"include_usage": True}):
            running.offpath.offer(request)
        await running.noted(12)
        assert running.pairs("correct") == {"both": 8, "only_incumbent": 3, "neither": 1}
        assert running.counts("pointsman_shadow_cost_usd_total") == {(): pytest.approx(0.0072)}


async def test_what_a_server_would_do_twice_is_not_asked_again(stack: Stack, case: Case) -> None:
    """Requests with hosted tools or that are stored reach no tier, and count on no side."""
    async with evaluator(stack, case.store, case.policy) as running:
        effects: list[dict[str, Any]] = [{"store": True}, {"tools": [{"type": "web_search"}]}]
        for n, extra in enumerate(effects):
            running.offpath.offer(scored(n, SUM_PROMPTS[n], case.policy, correct=True, **extra))
        assert await running.noted(2) == {"skipped": 2}
        assert running.pairs("answered") == {}
    assert stack.models.ledger("small") == []


async def test_a_spent_budget_stops_all_evidence(stack: Stack, case: Case) -> None:
    """Once the hour's money is spent, agreements are not counted either: they alone would flatter."""
    # A replay costs 0.0012 dollars, and none is begun that might cost more than is left at strong's price.
    case.policy["spec"]["rollout"]["shadow"]["budgetUSDPerHour"] = "0.008"
    async with evaluator(stack, case.store, case.policy) as running:
        for number, request in enumerate(case.requests(), 1):
            running.offpath.offer(request)
            await running.noted(number)
        notes = running.notes()
        cost = running.counts("pointsman_shadow_cost_usd_total")[()]
        assert notes["over_budget"] > 0
        assert notes.get("agreed", 0) == 0
        assert cost <= 0.008
    assert len(stack.models.ledger("small")) == notes["replayed"]


async def test_a_restart_remembers_the_hours_money(stack: Stack, case: Case) -> None:
    """The next process reads from the store what the last one has spent."""
    case.policy["spec"]["rollout"]["shadow"]["budgetUSDPerHour"] = "0.008"
    async with evaluator(stack, case.store, case.policy) as running:
        for number, request in enumerate(case.requests(), 1):
            running.offpath.offer(request)
            await running.noted(number)
        before = running.notes()["replayed"]
    async with evaluator(stack, case.store, case.policy) as running:
        running.offpath.offer(scored(99, SUM_PROMPTS[1], case.policy, correct=True))
        await running.noted(13)
        assert running.notes()["replayed"] == before


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"empty": True}])
async def test_a_tier_that_does_not_answer_fails_answered_alone(
    stack: Stack, case: Case, fault: dict[str, Any]
) -> None:
    """Errors and empty answers are evidence against the candidate; of their text nothing is said."""
    stack.models.faults("small", **fault)
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests():
            running.offpath.offer(request)
        assert await running.noted(12) == {"replayed": 6, "agreed": 6}
        assert running.pairs("answered") == {"both": 6, "only_incumbent": 6}
        assert running.pairs("correct") == {"both": 5, "neither": 1}


async def test_without_a_way_to_the_tier_nothing_is_evidence(stack: Stack, case: Case) -> None:
    """A revision that Envoy does not serve, or no Envoy at all, says nothing about the candidate."""
    case.policy["status"]["rollout"]["candidate"] = "unserved"
    async with evaluator(stack, case.store, case.policy) as running:
        for request in case.requests():
            running.offpath.offer(request)
        assert await running.noted(12) == {"failed": 12}
    async with evaluator(stack, case.store, case.policy, url="https://127.0.0.1:9") as running:
        running.offpath.offer(scored(99, SUM_PROMPTS[0], case.policy, correct=True))
        assert await running.noted(13) == {"failed": 13}
        assert running.pairs("answered") == {}


async def test_agreement_is_not_counted_while_differences_cannot_be(stack: Stack, case: Case) -> None:
    """With replays failing, a candidate that mostly agrees would else look better than it is."""
    async with evaluator(stack, case.store, case.policy, url="https://127.0.0.1:9") as running:
        running.offpath.offer(case.requests()[0])
        await running.noted(1)
        for request in case.requests()[6:]:
            running.offpath.offer(request)
        assert await running.noted(7) == {"failed": 7}
        assert running.pairs("answered") == {}


async def test_only_the_steps_own_requests_are_shadowed(stack: Stack, case: Case) -> None:
    """In another step, or of another rollout, nothing is asked."""
    shadowing = copy.deepcopy(case.policy)
    case.policy["status"]["rollout"]["steps"][0]["name"] = "Noise"
    async with evaluator(stack, case.store, case.policy) as running:
        running.offpath.offer(case.requests()[0])
        running.policies.put_policy(POLICY, shadowing)
        stranger = case.requests()[1]
        running.offpath.offer(replace(stranger, record=replace(stranger.record, rollout="another")))
        running.offpath.offer(case.requests()[6])
        assert await running.noted(1) == {"agreed": 1}
    assert stack.models.ledger("small") == []
