"""The same cases, two models: paired differences by cluster, overall and by intent. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from pointsman.stats.gate import GateReading, read_gate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pointsman.stats.types import Rule

LOST: Final = 0.05
"""Share of cases that a pass may lack: what could not be scored need not be like the rest."""
_ABOUT_NEITHER: Final = frozenset({"not_applicable", "no_reference"})
"""Reasons that lie in the case, and are the same for both models."""

Word = Literal["pass", "fail", "underpowered"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One case as both models did it; scores are 0..1."""

    group: str
    intent: str
    incumbent: float
    candidate: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums from which a gate is read; capitals are sums within a cluster. d is incumbent − candidate."""

    n: int
    clusters: int
    d: float
    dd: float
    DD: float
    Dn: float
    nn: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What the cases say of one rubric."""

    rubric: str
    verdict: Word
    because: str
    incumbent: float
    """Mean score of the incumbent."""
    candidate: float
    overall: GateReading
    intents: Mapping[str, GateReading]
    """By intent; intervals are wider, so that all of them hold together."""
    unscored: Mapping[str, int]
    """Cases that were left out, by why; in pairs: a case counts where both were scored."""

    def view(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def moments(pairs: Iterable[Pair]) -> Moments:
    """Return the sums over pairs."""
    n, d, dd = 0, 0.0, 0.0
    clusters: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for pair in pairs:
        drop = pair.incumbent - pair.candidate
        whole, count = clusters[pair.group]
        clusters[pair.group] = whole + drop, count + 1
        n, d, dd = n + 1, d + drop, dd + drop * drop
    sums = clusters.values()
    return Moments(
        n=n,
        clusters=len(clusters),
        d=d,
        dd=dd,
        DD=sum(whole * whole for whole, _ in sums),
        Dn=sum(whole * count for whole, count in sums),
        nn=float(sum(count * count for _, count in sums)),
    )


def judge(
    rubric: str,
    pairs: Sequence[Pair],
    rule: Rule,
    *,
    confidence: float = 0.95,
    min_cases: int = 0,
    unscored: Mapping[str, int] | None = None,
) -> Judged:
    """Return the verdict on one rubric.

    fail: overall, or in one intent at a level that all intents share; pass: overall, where nothing fails.
    """
    by_intent: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.intent:
            by_intent[pair.intent].append(pair)
    shared = 1 - (1 - confidence) / max(1, len(by_intent))
    overall = _read(pairs, rule, confidence)
    intents = {name: _read(found, rule, shared) for name, found in sorted(by_intent.items())}
    verdict, because = _verdict(overall, intents, rule, min_cases)
    lost = sum(count for why, count in (unscored or {}).items() if why not in _ABOUT_NEITHER)
    if verdict == "pass" and lost > LOST * (lost + len(pairs)):
        verdict, because = "underpowered", f"{lost} cases could not be scored, too many for a pass"
    return Judged(
        rubric=rubric,
        verdict=verdict,
        because=because,
        incumbent=_mean([pair.incumbent for pair in pairs]),
        candidate=_mean([pair.candidate for pair in pairs]),
        overall=overall,
        intents=intents,
        unscored=dict(unscored or {}),
    )


def worst(words: Iterable[Word]) -> Word:
    """Return the gate's verdict: nothing may fail, all must pass; without any rubric it is underpowered."""
    found = set(words)
    if "fail" in found:
        return "fail"
    return "pass" if found == {"pass"} else "underpowered"


def _verdict(
    overall: GateReading, intents: Mapping[str, GateReading], rule: Rule, min_cases: int
) -> tuple[Word, str]:
    if overall.n < min_cases:
        return "underpowered", f"{overall.n} cases, fewer than the {min_cases} that are asked for"
    if overall.verdict == "fail":
        return "fail", f"a drop of at least {points(overall.low)} is proven; {_limit(rule)}"
    fallen = {name: found for name, found in intents.items() if found.verdict == "fail"}
    if fallen:
        name = max(fallen, key=lambda intent: fallen[intent].low)
        return "fail", f"in {name} a drop of at least {points(fallen[name].low)} is proven; {_limit(rule)}"
    if overall.verdict == "pass" and overall.high < 0:
        return "pass", f"the candidate is better by at least {points(-overall.high)}"
    if overall.verdict == "pass":
        return (
            "pass",
            f"the drop is below {points(overall.high)}; {points(rule.tolerated_drop)} are tolerated",
        )
    words = (
        f"a drop of {points(rule.tolerated_drop)} is possible, one of {points(rule.minimum_drop)} is not "
        f"proven; about {overall.needed_n:,} cases like these would tell"
    )
    return "underpowered", words


def points(share: float) -> str:
    """Return a share as percentage points."""
    return f"{100 * share:.1f} points"


def _limit(rule: Rule) -> str:
    return f"{points(rule.minimum_drop)} is the limit"


def _read(pairs: Sequence[Pair], rule: Rule, confidence: float) -> GateReading:
    m = moments(pairs)
    return read_gate(m.n, m.clusters, m.d, m.dd, m.DD, m.Dn, m.nn, rule, confidence)


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
