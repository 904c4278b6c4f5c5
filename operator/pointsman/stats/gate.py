"""The gate: candidate and incumbent on the same cases, once, with standard errors by cluster.

Paired differences and clustered standard errors as in Miller 2024, "Adding Error Bars to Evals" (2411.00640);
two discordant cases of opposite sign are added (Bonett and Price 2012), so that few cases without a single
disagreement are no proof of equality. Looked at once: an ordinary interval, not an anytime-valid one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

from scipy.special import ndtri, stdtrit

from pointsman.stats.types import Rule

_POWER = 0.8
_LEAST_GAP = 0.005
"""A drop that lies right between the margins is not waited for without end: half a point is told apart."""


@dataclass(frozen=True, slots=True)
class GateReading:
    """What the gate's cases say of one rubric."""

    n: int
    clusters: int
    drop: float
    """Incumbent minus candidate, mean over cases."""
    se: float
    low: float
    high: float
    """Two-sided interval of the drop."""
    verdict: Literal["pass", "fail", "underpowered"]
    """fail: low > minimum_drop; pass: high < tolerated_drop; else underpowered."""
    needed_n: int
    """Cases like these with which the nearer verdict falls with 80 % power if the drop is as seen."""
    minimum_detectable: float
    """The smallest true drop that these cases fail with 80 % power."""


def read_gate(  # noqa: PLR0917 - the moments in the order in which they are exported
    n: int,
    clusters: int,
    d: float,
    dd: float,
    DD: float,  # noqa: N803 - sums over clusters are capital in the contract
    Dn: float,  # noqa: N803 - as above
    nn: float,
    rule: Rule,
    confidence: float = 0.95,
) -> GateReading:
    """Read n cases in `clusters` clusters from the sums of d = incumbent - candidate.

    d and dd: sums over cases of d and d²; DD, Dn, nn: sums over clusters of D², D · n and n², D being a
    cluster's sum of d and n its cases. Without cases: underpowered, interval -1..1.
    """
    if n <= 0 or clusters <= 0:
        return GateReading(0, 0, 0.0, 1.0, -1.0, 1.0, "underpowered", _least(rule, confidence), 1.0)
    cases, groups = n + 2, clusters + 2
    mean = d / cases
    by_cluster = (DD + 2) - 2 * mean * Dn + mean**2 * (nn + 2)
    by_case = (dd + 2) - cases * mean**2
    # Clusters of alike cases widen the interval; clusters that happen to cancel do not narrow it.
    variance = max(by_cluster, by_case) * groups / (groups - 1) / cases**2
    se = sqrt(variance)
    reach = float(stdtrit(groups - 1, (1 + confidence) / 2)) * se
    low, high = max(mean - reach, -1.0), min(mean + reach, 1.0)
    fail, good = low > rule.minimum_drop, high < rule.tolerated_drop
    power = float(ndtri(_POWER)) * se
    gap = max(rule.tolerated_drop - mean, mean - rule.minimum_drop, _LEAST_GAP)
    return GateReading(
        n=n,
        clusters=clusters,
        drop=d / n,
        se=se,
        low=low,
        high=high,
        verdict="fail" if fail else "pass" if good else "underpowered",
        needed_n=n if fail or good else max(n + 1, ceil(cases * ((reach + power) / gap) ** 2)),
        minimum_detectable=min(rule.minimum_drop + reach + power, 1.0),
    )


def _least(rule: Rule, confidence: float) -> int:
    """Cases after which equal answers to all of them pass: the two added ones are the whole variance."""
    return ceil(float(ndtri((1 + confidence) / 2)) * sqrt(2) / max(rule.tolerated_drop, _LEAST_GAP))
