"""The demo's words: a line for where a rollout is, a line for why it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.lab.demo.acts import Change
from pointsman.lab.demo.ended import Ended
from pointsman.lab.report.data import Verdict


def where(status: Mapping[str, Any]) -> str:
    """Say where a rollout is: step, weight, the worst stream, what it needs."""
    step = status.get("step") or {}
    rollout = status.get("rollout") or {}
    weights = {share["revision"]: share["weightPermille"] for share in status.get("traffic", [])}
    parts = [step.get("display") or step.get("name", "starting")]
    if step.get("state", "Running") != "Running":
        parts.append(step["state"])
    parts.append(f"weight {weights.get(rollout.get('candidate', ''), 0) / 10:g} %")
    verdicts = status.get("verdicts") or []
    if verdicts:
        parts.append(stream(Verdict.of(rollout.get("id", ""), verdicts[0])))
    needs = []
    if step.get("samplesNeeded"):
        needs.append(f"about {step['samplesNeeded']:,} more answers")
    if step.get("minutesNeeded"):
        needs.append(f"{step['minutesNeeded']} min")
    if needs:
        parts.append(f"needs {', '.join(needs)}")
    return " · ".join(parts)


def stream(verdict: Verdict) -> str:
    """Say what one rubric × intent looks like, in points."""
    low = "" if verdict.low <= -1000 else f"{verdict.low / 10:.1f}"  # noqa: PLR2004 - no bound yet
    high = "" if verdict.high >= 1000 else f"{verdict.high / 10:.1f}"  # noqa: PLR2004 - no bound yet
    interval = f" ({low} … {high})" if low or high else ""
    return (
        f"{verdict.key.rubric} in {verdict.key.intent or 'all'}: drop {verdict.drop / 10:.1f}{interval} "
        f"of {verdict.candidate:,}"
    )


def why(ended: Ended) -> list[str]:
    """Say why a rollout was ended: rubric, intent, samples, drop, interval, margins, delay."""
    verdict = ended.decisive
    if verdict is None:
        return []
    decided = (
        f"{ended.outcome}: {verdict.key.rubric} in {verdict.key.intent or 'all intents'} "
        f"({verdict.key.stage.lower()}): {verdict.incumbent:,} answers of the incumbent, "
        f"{verdict.candidate:,} of the candidate; drop {verdict.drop / 10:.1f} points, interval "
        f"{verdict.low / 10:.1f} to {verdict.high / 10:.1f}; fails beyond {verdict.fail_beyond / 10:.1f}, "
        f"passes within {verdict.pass_within / 10:.1f}"
    )
    lines = [decided]
    if ended.lag_ms is not None:
        lines.append(
            f"{ended.on_candidate:,} requests met the candidate; the last one {ended.lag_ms:.0f} ms after "
            "the status write that took its traffic away"
        )
    return lines


def aggregate(ended: Ended, tolerated_permille: int) -> str | None:
    """Say what a rule that looks at the average alone would have said of the same pairs."""
    pairs = ended.pairs
    if pairs is None or not pairs.total:
        return None
    passes = pairs.high < tolerated_permille
    return (
        f"an aggregate rule, on the same {pairs.total:,} pairs: drop {pairs.drop / 10:.1f} points "
        f"(at most {pairs.high / 10:.1f}), {tolerated_permille / 10:.1f} are tolerated: "
        f"{'it would have let it through' if passes else 'it would not have let it through either'}"
    )


def foretold(change: Change) -> str:
    """Say what the recorded verdicts foretell."""
    intent, worst = change.worst
    return (
        f"recorded verdicts: right answers {change.accuracy[0]:.1%} → {change.accuracy[1]:.1%}, worst intent "
        f"{intent} {-worst / 10:+.1f} points, cost {-change.saved:+.1%}, another model for "
        f"{change.differ:.0%} of the prompts"
    )


def paid(ended: Ended) -> str:
    """Say what clients saw before and after."""
    return (
        f"clients saw: right answers {ended.before.accuracy:.1%} → {ended.after.accuracy:.1%}, "
        f"saved against always-strong {ended.before.saved:.1%} → {ended.after.saved:.1%}; "
        f"{ended.during.failed} requests failed, {ended.during.empty} answers were empty"
    )
