"""How a scene ended, and whether that was right: the answer key against what the cluster says. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.lab.demo.acts import Change, Scene
from pointsman.lab.demo.tally import Counts
from pointsman.lab.report.data import Verdict

GUARDS: Final = frozenset({"answered", "aborted", "failOpen", "refusal", "retry"})
ONLY_CANDIDATE: Final = "tier-small"
"""The tier that no policy but a hidden one uses."""
_SIGMAS: Final = 4
_SAVED_SLACK: Final = 0.08
"""A second or two of classifier time-outs send more to strong than the rule does."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What an aggregate rule would have had to go on: all pairs of a shadow in one heap."""

    only_incumbent: int
    only_candidate: int
    total: int

    @property
    def drop(self) -> float:
        """Permille."""
        return 1000 * (self.only_incumbent - self.only_candidate) / max(self.total, 1)

    @property
    def high(self) -> float:
        """Upper end of the usual 95 % interval of a paired difference, permille."""
        differing = self.only_incumbent + self.only_candidate
        spread = differing - (self.only_incumbent - self.only_candidate) ** 2 / max(self.total, 1)
        return self.drop + 1.96 * 1000 * math.sqrt(max(spread, 0.0)) / max(self.total, 1)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a scene came to."""

    scene: Scene
    status: Mapping[str, Any]
    """The policy's status at the end."""
    record: Mapping[str, Any] | None
    """The attempt as the revision's own status keeps it."""
    events: Sequence[Mapping[str, Any]]
    """About the policy, since the scene began."""
    seconds: float
    before: Counts
    """Requests while the incumbent served alone."""
    during: Counts
    """Requests from the apply to the end."""
    after: Counts
    """Requests after the end."""
    on_candidate: int
    """Requests that the candidate decided."""
    lag_ms: float | None = None
    """From the status write to the last request that the candidate decided; None: it never had any."""
    served: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By the tiers' own ledgers: clients' requests that each answered meanwhile, and replays."""
    pairs: Pairs | None = None
    late: bool = False
    """The scene was given up: it took too long."""
    problems: list[str] = field(default_factory=list)

    @property
    def rollout(self) -> Mapping[str, Any]:
        """The rollout as the status tells it."""
        found: Mapping[str, Any] = self.status.get("rollout") or {}
        return found

    @property
    def outcome(self) -> str:
        """How it ended; "" if it did not."""
        return str(self.rollout.get("outcome") or "")

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts that the status tells, the worst first."""
        return [Verdict.of(str(self.rollout.get("id", "")), each) for each in self.status.get("verdicts", [])]

    @property
    def decisive(self) -> Verdict | None:
        """The verdict that ended it, if one did."""
        return next((verdict for verdict in self.verdicts if verdict.verdict == "Fail"), None)


def judge(ended: Ended, change: Change) -> list[str]:
    """Say what did not come out as the recorded verdicts foretell; empty: all of it did."""
    scene = ended.scene
    if ended.late:
        step = ended.status.get("step") or {}
        where = f"{step.get('name', 'no step')}: {step.get('because', '')}"
        return [f"no end after {ended.seconds:.0f} s: {where}"]
    if ended.outcome != scene.ends:
        because = ended.rollout.get("because", "")
        return [f"ended as {ended.outcome or 'nothing'}, not as {scene.ends}: {because}"]
    found = _recorded(ended)
    match scene.kind:
        case "better":
            return found + _promoted(ended, change)
        case "hidden":
            return found + _caught(ended, change)
        case "broken":
            return found + _broken(ended)


def _recorded(ended: Ended) -> list[str]:
    found = []
    if ended.record is None:
        found.append("the revision's status holds no record of the attempt")
    elif ended.record["rollout"].get("outcome") != ended.outcome:
        found.append(f"the record says {ended.record['rollout'].get('outcome')}")
    verdict = ended.decisive
    if ended.scene.ends == "Promoted":
        return found
    if verdict is None:
        return [*found, "no verdict says Fail"]
    told = [event.get("note", "") for event in ended.events if event.get("reason") == ended.outcome]
    words = [verdict.key.rubric, *([verdict.key.intent] if verdict.key.intent else [])]
    if not any(all(word in note for word in words) for note in told):
        found.append(f"no event {ended.outcome} names {' and '.join(words)}")
    return found


def _promoted(ended: Ended, change: Change) -> list[str]:
    found = []
    traffic = {share["revision"]: share["weightPermille"] for share in ended.status.get("traffic", [])}
    candidate = ended.rollout.get("candidate")
    if traffic.get(str(candidate)) != 1000:  # noqa: PLR2004 - all of it
        found.append(f"promoted, but the traffic in force is {traffic}")
    if ended.during.failed or ended.after.failed:
        found.append(f"{ended.during.failed + ended.after.failed} requests failed")
    expected = change.accuracy[1]
    room = _SIGMAS * math.sqrt(expected * (1 - expected) / max(ended.after.requests, 1))
    if not abs(ended.after.accuracy - expected) <= room:
        found.append(f"quality is {ended.after.accuracy:.1%}, not {expected:.1%} ± {room:.1%}")
    if not ended.after.saved > ended.before.saved + change.saved * (1 - ended.before.saved) - _SAVED_SLACK:
        found.append(f"it saves {ended.after.saved:.1%}, before {ended.before.saved:.1%}")
    return found


def _caught(ended: Ended, change: Change) -> list[str]:
    found = []
    verdict, intent = ended.decisive, change.worst[0]
    if verdict is not None and (verdict.key.rubric in GUARDS or verdict.key.intent != intent):
        found.append(f"decided by {verdict.key.rubric} in {verdict.key.intent or 'all'}, not by {intent}")
    if ended.during.failed:
        found.append(f"{ended.during.failed} requests failed")
    if ended.scene.ends == "ShadowFailed":
        weights = [step.get("weightPermille", 0) for step in ended.rollout.get("steps", [])]
        if any(weights) or ended.on_candidate:
            found.append(f"{ended.on_candidate} users' requests met it, with weights {weights}")
        found += _untouched(ended)
    elif not ended.on_candidate:
        found.append("it never had traffic")
    return found


def _untouched(ended: Ended) -> list[str]:
    """Say what is wrong if the tier that only the candidate uses did not answer replays alone."""
    clients, replays = ended.served.get(ONLY_CANDIDATE, (0, 0))
    if clients or not replays:
        return [f"the ledger of {ONLY_CANDIDATE} has {clients} clients' requests and {replays} replays"]
    return []


def _broken(ended: Ended) -> list[str]:
    found = []
    verdict = ended.decisive
    if verdict is not None and verdict.key.rubric not in GUARDS:
        found.append(f"decided by {verdict.key.rubric}, which is no guard rubric")
    if not ended.on_candidate:
        found.append("it never had traffic")
    return found
