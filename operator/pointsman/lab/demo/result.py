"""From what clients saw to a verdict: shares, cost, accuracy per intent, the edge over chance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.lab.demo.letters import letter
from pointsman.lab.load import Outcome
from pointsman.routers import metrics
from pointsman.routers.dataset import Problem

_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def of(self, outcome: Outcome) -> float:
        """Return what an answer cost, by the usage that the client was told."""
        tokens = outcome.prompt_tokens * self.input + outcome.completion_tokens * self.output
        return tokens / _PER_MILLION


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of right answers on one intent, or on all (`intent` "")."""

    intent: str
    prompts: int
    strong_share: float
    routed: float
    cheap: float
    strong: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found."""

    requests: int
    streamed: int
    by_tier: Mapping[str, int]
    by_reason: Mapping[str, int]
    failed: tuple[str, ...]
    """Requests that were not answered as they should, in words; at most a few are kept."""
    failures: int
    cost_usd: float
    strong_cost_usd: float
    accuracy: tuple[Accuracy, ...]
    """All first, then each intent."""
    random_accuracy: float
    edge: metrics.Edge

    @property
    def separated(self) -> bool:
        """Say whether the classifier was better than chance."""
        return self.edge.low > 0


def evaluate(
    outcomes: Sequence[Outcome],
    test: Problem,
    recorded: Mapping[str, Mapping[str, str]],
    prices: Mapping[str, Price],
    streamed: int,
) -> Result:
    """Judge the answers to the test prompts.

    `recorded`: by tier, the recorded answer of each prompt's text; `prices`: by tier, cheap to strong.
    """
    tiers = list(prices)
    row = {prompt_id: index for index, prompt_id in enumerate(test.prompt_ids)}
    seen = Counter(outcome.prompt for outcome in outcomes)
    wrong = [f"{prompt_id}: sent {seen[prompt_id]} times" for prompt_id in row if seen[prompt_id] != 1]
    choice = np.full(len(test), len(tiers) - 1)
    correct = _verdicts(test, recorded, tiers)
    cost = 0.0
    for outcome in outcomes:
        at = row[outcome.prompt]
        problem = _problem(outcome, test.texts[at], recorded)
        if problem:
            wrong.append(f"{outcome.prompt}: {problem}")
            continue
        choice[at] = tiers.index(outcome.tier)
        # From the text that the client got.
        correct[at, choice[at]] = float(letter(outcome.text) == test.references[at])
        cost += prices[outcome.tier].of(outcome)
    return Result(
        requests=len(outcomes),
        streamed=streamed,
        by_tier={tier: sum(o.tier == tier for o in outcomes) for tier in tiers},
        by_reason=dict(Counter(o.reason for o in outcomes).most_common()),
        failed=tuple(wrong[:5]),
        failures=len(wrong),
        cost_usd=cost,
        strong_cost_usd=float(np.nansum(test.cost_usd[:, -1])),
        accuracy=_accuracies(test, correct, choice),
        random_accuracy=metrics.at_random(correct, choice),
        edge=metrics.edge(correct, choice, test.group_ids),
    )


def as_json(result: Result) -> dict[str, Any]:
    """Return the result as plain JSON values."""
    return {
        "requests": result.requests,
        "streamed": result.streamed,
        "failures": result.failures,
        "failed": list(result.failed),
        "byTier": dict(result.by_tier),
        "byReason": dict(result.by_reason),
        "costUSD": round(result.cost_usd, 6),
        "alwaysStrongCostUSD": round(result.strong_cost_usd, 6),
        "accuracy": [
            {
                "intent": row.intent or None,
                "prompts": row.prompts,
                "strongShare": round(row.strong_share, 4),
                "routed": round(row.routed, 4),
                "cheap": round(row.cheap, 4),
                "strong": round(row.strong, 4),
            }
            for row in result.accuracy
        ],
        "randomAccuracy": round(result.random_accuracy, 4),
        "edge": {name: round(getattr(result.edge, name), 5) for name in ("value", "low", "high")},
    }


def _verdicts(test: Problem, recorded: Mapping[str, Mapping[str, str]], tiers: Sequence[str]) -> Any:
    """Return what each tier's answer to each prompt is worth [n, T]; a few prompts' texts come twice."""
    return np.array(
        [
            [float(letter(recorded[tier][text]) == reference) for tier in tiers]
            for text, reference in zip(test.texts, test.references, strict=True)
        ]
    )


def _problem(outcome: Outcome, text: str, recorded: Mapping[str, Mapping[str, str]]) -> str | None:
    if outcome.status != 200:  # noqa: PLR2004 - HTTP
        return f"status {outcome.status} {outcome.error}".strip()
    if outcome.tier not in recorded:
        return f"served by {outcome.tier or 'nobody who says so'}"
    if outcome.text != recorded[outcome.tier].get(text):
        return f"the answer is not the one that {outcome.tier} gave"
    return None


def _accuracies(test: Problem, correct: Any, choice: Any) -> tuple[Accuracy, ...]:
    intents = np.asarray(test.intents)
    rows = []
    for intent in ("", *sorted(set(test.intents))):
        keep = intents == intent if intent else np.full(len(test), fill_value=True)
        verdicts, chosen = correct[keep], choice[keep]
        rows.append(
            Accuracy(
                intent=intent,
                prompts=int(keep.sum()),
                strong_share=float((chosen == verdicts.shape[1] - 1).mean()),
                routed=metrics.accuracy(verdicts, chosen),
                cheap=float(verdicts[:, 0].mean()),
                strong=float(verdicts[:, -1].mean()),
            )
        )
    return tuple(rows)
