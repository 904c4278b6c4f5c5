"""What replays cost: estimated before, counted after, held to the policy's hourly budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pointsman.evaluator.prices import NANO, tier_price
from pointsman.evaluator.shadow.budget import HOUR_S, HourlyBudget
from pointsman.evaluator.shadow.reply import CHARACTERS_A_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pointsman.clock import Clock
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.prices import Price
    from pointsman.evaluator.rollouts import LiveRollout
    from pointsman.evaluator.shadow.reply import Reply

    Past = Callable[[str, float], Iterable[tuple[float, int]]]
    """(policy, since) → what was spent: Unix times and nano-dollars."""

TYPICAL_TOKENS: Final = 500
"""Of an answer, before any was seen."""
_SMOOTHING: Final = 0.05


@dataclass(slots=True)
class _Purse:
    budget: HourlyBudget
    typical_nano: float = 0.0
    """Cost of a replay, smoothed; 0 before the first."""


class Spending:
    """The budgets of all policies. Tiers without a price cost nothing that could be counted."""

    def __init__(self, policies: Policies, clock: Clock, past: Past) -> None:
        self._policies = policies
        self._clock = clock
        self._past = past
        self._purses: dict[str, _Purse] = {}
        self.elsewhere: Mapping[str, int] = {}
        """Nano-dollars that other replicas have spent in the last hour, by policy."""
        self.sharers: Callable[[], int] = _one
        """How many replicas spend."""

    def price(self, rollout: LiveRollout, revision: str, tier: str) -> Price | None:
        """Return what a tier of one of the rollout's revisions costs."""
        return tier_price(
            self._policies.policy(rollout.policy), self._policies.revision(rollout.policy, revision), tier
        )

    def admits(self, rollout: LiveRollout, least_nano: int = 0) -> bool:
        """Tell whether there is money for a replay of the usual price (at least `least_nano`).

        To be asked before it is known whether one is needed: if only those that need none got through once
        the money is spent, the two revisions would look more alike than they are.
        """
        purse = self._purse(rollout)
        # What the others spend is known some seconds late: each leaves room for one replay of every other.
        price = max(round(purse.typical_nano), least_nano) * self.sharers()
        return purse.budget.fits(self._now(), price + self.elsewhere.get(rollout.policy, 0))

    def reserve(self, rollout: LiveRollout, estimate_nano: int) -> None:
        """Set money aside for a replay."""
        self._purse(rollout).budget.reserve(estimate_nano)

    def settle(self, rollout: LiveRollout, estimate_nano: int, cost_nano: int) -> None:
        """Count what a replay has cost, in place of what was set aside."""
        purse = self._purse(rollout)
        purse.budget.release(estimate_nano)
        purse.budget.spend(self._now(), cost_nano)
        step = _SMOOTHING if purse.typical_nano else 1.0
        purse.typical_nano += step * (cost_nano - purse.typical_nano)

    def release(self, rollout: LiveRollout, estimate_nano: int) -> None:
        """Give back what was set aside for a replay that did not happen."""
        self._purse(rollout).budget.release(estimate_nano)

    def _purse(self, rollout: LiveRollout) -> _Purse:
        limit = round(rollout.settings.shadow_budget_usd_per_hour * NANO)
        purse = self._purses.get(rollout.policy)
        if purse is None:
            past = self._past(rollout.policy, self._now() - HOUR_S)
            purse = self._purses[rollout.policy] = _Purse(HourlyBudget(limit, past))
        purse.budget.per_hour_nano = limit
        return purse

    def _now(self) -> float:
        return self._clock().timestamp()


def estimate_nano(price: Price | None, sent_bytes: int, completion_tokens: int | None) -> int:
    """Return what an answer may cost; `completion_tokens`: of the other side's answer to the same. Pure."""
    if price is None:
        return 0
    return price.cost_nano(sent_bytes // CHARACTERS_A_TOKEN, completion_tokens or TYPICAL_TOKENS)


def cost_nano(price: Price | None, sent_bytes: int, reply: Reply) -> int:
    """Return what an answer has cost, by the usage that it reports, estimated where there is none. Pure."""
    return price.cost_nano(*reply.tokens(sent_bytes)) if price is not None else 0


def _one() -> int:
    return 1
