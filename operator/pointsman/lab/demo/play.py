"""The quick demo: one policy, every test prompt once, and what the classifier was worth."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pointsman.lab import running
from pointsman.lab.demo import house, stage
from pointsman.lab.demo.house import House
from pointsman.lab.demo.result import Price, Result, evaluate
from pointsman.lab.load import Outcome
from pointsman.lab.models import CHEAP_MODEL, STRONG_MODEL
from pointsman.routers import dataset
from pointsman.routers.train import Trained, train

_PRICES: Mapping[str, Price] = {"cheap": Price(0.075, 0.3), "strong": Price(1.25, 5.0)}
"""As in the quickstart's policy."""
_MODELS = {"cheap": CHEAP_MODEL, "strong": STRONG_MODEL}


class Audience(Protocol):
    """Who is told what happens."""

    def say(self, text: str) -> None:
        """Show a line."""

    def relay(self, line: str) -> None:
        """Show a line of the lab's own, which carries its time already."""

    def progress(self, total: int) -> contextlib.AbstractContextManager[Callable[[Outcome], None]]:
        """Show a bar of `total` requests; called with each outcome."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to play it."""

    house: House
    rate: float = 30.0
    stream_share: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it."""

    result: Result
    trained: Trained
    summary: dict[str, Any]
    guards: dict[str, dict[str, int]]
    seconds: float


def play(options: Options, audience: Audience) -> Played:
    """Run the demo; `LabError` or `DatasetError` says why it could not."""
    running.check_host()
    begin = time.monotonic()
    with house.state(options.house) as folder, house.lab(options.house, folder, audience.relay) as lab:
        problem = dataset.load(options.house.data, (CHEAP_MODEL, STRONG_MODEL))
        test = problem.split()[2]
        audience.say("the lab starts; meanwhile a classifier is trained on the training split")
        trained = train(problem)
        audience.say(
            f"trained: {len(trained.data) / 1000:.0f} kB, sha256 {trained.sha256[:12]}…, "
            f"threshold {trained.report.threshold_permille} permille"
        )
        status = lab()
        stage.apply_quickstart(status, trained.data, audience.say)
        chosen = stage.prompts(test, seed=options.seed, stream_share=options.stream_share)
        audience.say(f"sending each of {len(chosen):,} test prompts once, {options.rate:g} a second")
        with audience.progress(len(chosen)) as on_outcome:
            outcomes = asyncio.run(stage.send(status, chosen, options.rate, on_outcome))
        recorded = {
            tier: {text: answer.text for text, answer in dataset.answers(options.house.data, model).items()}
            for tier, model in _MODELS.items()
        }
        return Played(
            result=evaluate(outcomes, test, recorded, _PRICES, sum(prompt.stream for prompt in chosen)),
            trained=trained,
            summary=stage.summary(status, len(chosen)),
            guards=stage.guards(status, len(chosen)),
            seconds=time.monotonic() - begin,
        )
