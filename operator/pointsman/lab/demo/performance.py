"""The demo from beginning to end: five acts on one lab, under steady traffic, and a mark for each."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from pointsman.api.v1alpha1.routing_policy import RoutingPolicy, RoutingPolicySpec
from pointsman.clock import Clock
from pointsman.lab import running
from pointsman.lab.demo import datasets, house, show
from pointsman.lab.demo.acts import ACTS, EXAMPLE, Act, Change, Population, Scene, choices, compare, problems
from pointsman.lab.demo.ended import Ended, judge
from pointsman.lab.demo.house import House
from pointsman.lab.demo.letters import letter
from pointsman.lab.demo.result import Price
from pointsman.lab.demo.scene import HOST, NAMESPACE, POLICY, Look, Stage
from pointsman.lab.demo.tally import Tally
from pointsman.lab.demo.traffic import Traffic
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.load import Prompt, Target
from pointsman.lab.models import MODELS
from pointsman.lab.process import LabError
from pointsman.lab.report.gather import gather
from pointsman.lab.report.page import page
from pointsman.lab.substitute import bundle_values, file_values, lab_values, substitute
from pointsman.routers import dataset
from pointsman.routers.dataset import Problem
from pointsman.routers.train import Trained, train

_GATE_CASES = 500
_HURT = "engineering"


class Audience(Protocol):
    """Who is told what happens."""

    def say(self, text: str) -> None:
        """Show a line."""

    def relay(self, line: str) -> None:
        """Show a line of the lab's own, which carries its time already."""

    def live(self) -> contextlib.AbstractContextManager[Callable[[str], None]]:
        """Show one line that changes; called with its text."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to play it."""

    house: House
    acts: Collection[int] = frozenset(act.number for act in ACTS)
    rate: float = 100.0
    stream_share: float = 0.1
    seed: int = 0
    report: Path | None = None
    """Where to write the page."""


@dataclass(frozen=True, slots=True)
class Played:
    """What one act came to."""

    act: Act
    ended: tuple[Ended, ...]

    @property
    def right(self) -> bool:
        """Whether every scene ended as it had to."""
        return not any(ended.problems for ended in self.ended)


def perform(options: Options, audience: Audience, clock: Clock) -> list[Played]:
    """Play the acts; `LabError` or `DatasetError` says why it could not go on."""
    running.check_host()
    with house.state(options.house) as folder, house.lab(options.house, folder, audience.relay) as lab:
        audience.say("the lab starts; meanwhile a classifier is trained on the training split")
        problem = dataset.load(options.house.data, MODELS)
        _, calibration, test = problem.split()
        trained = train(problem)
        values = example_values(trained, calibration, test)
        population = Population.of(test, trained.bundle)
        acts = [act for act in ACTS if act.number in options.acts]
        changes = _foretell(acts, population, values)
        audience.say("every policy was tried on paper first: each is what its act calls it")
        status = lab()
        with Kubectl(Path(status["kubeconfig"])) as kubectl:
            # Unix time of a moment that the load's clock names.
            offset = clock().timestamp() - time.monotonic()
            tally = new_tally(test, offset, values)
            stage = Stage(status, kubectl, values | lab_values(status), tally, clock, options.rate)
            stage.set_up()
            played = _Company(options, stage, changes, test, audience).play(acts)
            if options.report is not None:
                told = gather(kubectl, str(status["prometheus"]), f"{NAMESPACE}/{POLICY}", clock)
                options.report.write_text(page(told), "utf-8")
        return played


@dataclass(slots=True)
class _Company:
    """Plays acts one after the other, remembering what is in force."""

    options: Options
    stage: Stage
    changes: Mapping[str, tuple[Change, RoutingPolicySpec]]
    test: Problem
    audience: Audience
    in_force: str | None = None

    def play(self, acts: list[Act]) -> list[Played]:
        with contextlib.ExitStack() as stack:
            played = []
            for act in acts:
                self.audience.say(f"ACT {act.number}: {act.title}")
                if act.incumbent != self.in_force and act.incumbent is not None:
                    self.stage.bring_into_force(EXAMPLE / act.incumbent)
                    self.in_force = act.incumbent
                played.append(Played(act, tuple(self._scene(scene, stack) for scene in act.scenes)))
            return played

    def _scene(self, scene: Scene, stack: contextlib.ExitStack) -> Ended:
        change, spec = self.changes[scene.file]
        self.audience.say(f"{scene.file}: {show.foretold(change)}")
        before = str((self.stage.status().get("rollout") or {}).get("id", ""))
        self.stage.apply(scene.path)
        if not self.stage.tally.counts().requests:
            self.stage.wait_served()
            stack.enter_context(self._traffic())
        with self.audience.live() as line:
            look: Look = lambda status: line(show.where(status))  # noqa: E731 - one line
            ended = self.stage.follow(scene, before, look)
        ended.problems.extend(judge(ended, change))
        if ended.outcome == "Promoted":
            self.in_force = scene.file
        self._tell(ended, spec)
        return ended

    def _tell(self, ended: Ended, spec: RoutingPolicySpec) -> None:
        verdict = spec.rollout.verdict if spec.rollout is not None else None
        tolerated = verdict.tolerated_drop_permille if verdict is not None else None
        words = show.why(ended)
        said = show.aggregate(ended, tolerated or 0) if ended.scene.kind == "hidden" else None
        for line in (*words, *([said] if said else []), show.paid(ended)):
            self.audience.say(line)
        for problem in ended.problems:
            self.audience.say(f"NOT RIGHT: {problem}")

    def _traffic(self) -> Traffic:
        draw = random.Random(self.options.seed)  # noqa: S311 - repeatable, not secret
        prompts = [
            Prompt(prompt_id, text, draw.random() < self.options.stream_share)
            for prompt_id, text in zip(self.test.prompt_ids, self.test.texts, strict=True)
        ]
        target = Target(str(self.stage.lab["entry"]), HOST)
        self.audience.say(f"clients begin: {self.options.rate:g} requests a second, each its own session")
        return Traffic(target, prompts, self.stage.tally, rate=self.options.rate, seed=self.options.seed)


def example_values(trained: Trained, calibration: Problem, test: Problem) -> dict[str, str]:
    """Return what the examples' `${…}` stand for, but for addresses: bundle, references, gate cases."""
    return (
        bundle_values(trained.data)
        | file_values("REFERENCES", datasets.references(test))
        | file_values("GATE", datasets.gate(calibration, cases=_GATE_CASES))
        | file_values("GATE_NARROW", datasets.gate(calibration, cases=_GATE_CASES, without=[_HURT]))
    )


def _spec(file: str, values: Mapping[str, str]) -> RoutingPolicySpec:
    """Read an example; the lab's addresses, which decide nothing, are not known yet."""
    nowhere = dict.fromkeys(
        ("SMALL_URL", "CHEAP_URL", "SPARE_URL", "STRONG_URL", "TRITON_URL", "PROMETHEUS_URL"),
        "http://127.0.0.1:1",
    )
    text = substitute((EXAMPLE / file).read_text("utf-8"), nowhere | dict(values))
    return RoutingPolicy.model_validate(yaml.safe_load(text)).spec


def _foretell(
    acts: list[Act], population: Population, values: Mapping[str, str]
) -> dict[str, tuple[Change, RoutingPolicySpec]]:
    """Return by file what each candidate will do; `LabError` where that contradicts its act."""
    found = {}
    for act in acts:
        incumbent = None if act.incumbent is None else _spec(act.incumbent, values)
        for scene in act.scenes:
            spec = _spec(scene.file, values)
            change = compare(choices(incumbent, population), choices(spec, population), population)
            verdict = spec.rollout.verdict if spec.rollout is not None else None
            least = (verdict.minimum_drop_permille if verdict is not None else None) or 0
            wrong = problems(scene.kind, change, least)
            if wrong:
                raise LabError(f"{scene.file} is not what act {act.number} needs: {'; '.join(wrong)}")
            found[scene.file] = (change, spec)
    return found


def new_tally(test: Problem, offset: float, values: Mapping[str, str]) -> Tally:
    """Return an empty tally at the examples' prices; `offset`: Unix time minus the load's clock."""
    prices = {
        tier.name: Price(float(tier.price.input_per_million), float(tier.price.output_per_million))
        for tier in _spec("1-first.yaml", values).tiers
        if tier.price is not None
    }
    return Tally(
        answers=dict(zip(test.prompt_ids, test.references, strict=True)),
        strong_cost=dict(zip(test.prompt_ids, test.cost_usd[:, -1].tolist(), strict=True)),
        prices=prices,
        letter=letter,
        now_minus_monotonic=offset,
    )


def as_json(played: list[Played], seconds: float) -> dict[str, Any]:
    """Return what came of it as plain JSON values."""
    return {
        "right": all(one.right for one in played),
        "seconds": round(seconds, 1),
        "acts": [
            {
                "act": one.act.number,
                "title": one.act.title,
                "right": one.right,
                "scenes": [_scene(ended) for ended in one.ended],
            }
            for one in played
        ],
    }


def _scene(ended: Ended) -> dict[str, Any]:
    verdict = ended.decisive
    return {
        "file": ended.scene.file,
        "expected": ended.scene.ends,
        "ended": ended.outcome,
        "problems": ended.problems,
        "seconds": round(ended.seconds, 1),
        "requests": ended.during.requests,
        "failed": ended.during.failed,
        "onCandidate": ended.on_candidate,
        "served": {
            tier: {"clients": clients, "replays": replays}
            for tier, (clients, replays) in ended.served.items()
        },
        "lagMs": None if ended.lag_ms is None else round(ended.lag_ms, 1),
        "accuracy": [round(ended.before.accuracy, 4), round(ended.after.accuracy, 4)],
        "saved": [round(ended.before.saved, 4), round(ended.after.saved, 4)],
        "decisive": None
        if verdict is None
        else {
            "rubric": verdict.key.rubric,
            "intent": verdict.key.intent,
            "stage": verdict.key.stage,
            "samples": verdict.candidate,
            "dropPermille": verdict.drop,
            "interval": [verdict.low, verdict.high],
            "margins": [verdict.fail_beyond, verdict.pass_within],
        },
    }
