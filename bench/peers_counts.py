"""Two arms' scored answers as counters in Prometheus: drawn at known rates, worse from a set moment on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx
import numpy as np

from evidence_kit import HALVES, Exporter
from pointsman.clock import system_clock
from pointsman.rollout.question import GUARD_VERSION, GUARDS

RATE = 20.0
"""Scored answers a second of both arms together."""
SHARE = 0.1
"""The candidate's part of them, whatever weight is written as long as it is above 0."""
GOOD = 0.94
GUARDED = 0.995
"""How often the guard rubrics pass, in both arms and always."""
TICK_S = 0.25
REST_TICK_S = 1.0
BAD_ANSWERS = "bench_bad_answers_total"
"""Answers of the candidate since it broke: its first sample above 0 is when Prometheus can know."""


@dataclass
class Subject:
    """One object under trial, and the moments that count (Unix time)."""

    name: str
    bad: float
    """The candidate's success rate once it breaks; GOOD: it never does."""
    good_s: float
    """For how long the candidate serves well first."""
    rollout: str = "peer"
    step: int = 0
    stable: str = ""
    """Revision at rest, of ours."""
    began_at: float | None = None
    reverted_at: float | None = None
    acknowledged_at: float | None = None

    @property
    def breaks_at(self) -> float | None:
        """When it breaks; None: not known yet, or never."""
        return None if self.began_at is None or self.bad >= GOOD else self.began_at + self.good_s

    @property
    def serving(self) -> bool:
        """Whether the candidate has traffic."""
        return self.began_at is not None and self.reverted_at is None


@dataclass
class Counts:
    """Draws for all subjects of a namespace until cancelled."""

    exporter: Exporter
    namespace: str
    version: str
    subjects: list[Subject]
    ours: bool
    """Whether guards are counted, too: nobody else reads them."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(21))

    async def run(self) -> None:
        """Count in real time: a late tick counts as much as it was late."""
        last = _now()
        while True:
            await asyncio.sleep(TICK_S)
            now = _now()
            for subject in self.subjects:
                self._serve(subject, int(self.rng.poisson(RATE * (now - last))), now)
            last = now

    def _serve(self, subject: Subject, n: int, now: float) -> None:
        n_c = int(self.rng.binomial(n, SHARE)) if subject.serving else 0
        broken = subject.breaks_at is not None and now >= subject.breaks_at
        rates = {"correct": (GOOD, subject.bad if broken else GOOD)}
        if self.ours:
            rates |= dict.fromkeys(GUARDS, (GUARDED, GUARDED))
        who = {"namespace": self.namespace, "policy": subject.name}
        for rubric, (p_i, p_c) in rates.items():
            version = self.version if rubric == "correct" else GUARD_VERSION
            kind = {"rubric": rubric, "version": version}
            if subject.began_at is not None:
                for arm, total, p in (("incumbent", n - n_c, p_i), ("candidate", n_c, p_c)):
                    passed = int(self.rng.binomial(total, p))
                    self.exporter.served(
                        subject.rollout, subject.step, arm, passed, total - passed, **who, **kind
                    )
        self.exporter.add(BAD_ANSWERS, n_c if broken else 0, **who)
        if self.ours and subject.rollout != "peer":
            self.exporter.know(subject.rollout, **who)


@dataclass
class Resting:
    """The incumbents' own answers by half, from long before a change on: their noise is measured on them."""

    exporter: Exporter
    version: str
    revisions: dict[tuple[str, str], str]
    """By namespace and policy."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(22))
    began_at: float = 0.0

    async def run(self) -> None:
        """Count in real time until cancelled."""
        last = self.began_at = _now()
        while True:
            await asyncio.sleep(REST_TICK_S)
            now = _now()
            for (namespace, policy), revision in self.revisions.items():
                n = int(self.rng.poisson(RATE * (now - last)))
                who = {"namespace": namespace, "policy": policy, "revision": revision, "intent": ""}
                self._serve(int(self.rng.binomial(n, 0.5)), n, who)
            last = now

    def _serve(self, first: int, n: int, who: dict[str, str]) -> None:
        for rubric in ("correct", *GUARDS):
            own = rubric == "correct"
            labels = who | {"rubric": rubric, "version": self.version if own else GUARD_VERSION}
            for half, total in (("a", first), ("b", n - first)):
                passed = int(self.rng.binomial(total, GOOD if own else GUARDED))
                self.exporter.add(HALVES, passed, **labels, half=half, outcome="pass")
                self.exporter.add(HALVES, total - passed, **labels, half=half, outcome="fail")


def visible_at(prometheus: str, namespace: str) -> dict[str, float]:
    """Return by subject the time of the first sample in Prometheus with answers of the broken candidate."""
    query = f'{BAD_ANSWERS}{{namespace="{namespace}"}}[1h]'
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=60)
    found = {}
    for series in answer.raise_for_status().json()["data"]["result"]:
        seen = [float(at) for at, value in series["values"] if float(value) > 0]
        if seen:
            found[series["metric"]["policy"]] = seen[0]
    return found


def _now() -> float:
    return system_clock().timestamp()
