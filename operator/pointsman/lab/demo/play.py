"""The demo from beginning to end; whatever happens, the lab is down afterwards (or up, with `keep`)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pointsman.lab import control, running
from pointsman.lab.demo import stage
from pointsman.lab.demo.result import Price, Result, evaluate
from pointsman.lab.load import Outcome
from pointsman.lab.models import CHEAP_MODEL, STRONG_MODEL
from pointsman.lab.process import Child, LabError, Spec
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

    data: Path
    state_dir: Path | None = None
    """Default: a temporary folder."""
    rate: float = 30.0
    stream_share: float = 0.1
    seed: int = 0
    tier_speed: float = 5.0
    keep: bool = False


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
    with _state(options) as state, _lab(options, state, audience.relay) as lab:
        problem = dataset.load(options.data, (CHEAP_MODEL, STRONG_MODEL))
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
            tier: {prompt: answer.text for prompt, answer in dataset.answers(options.data, model).items()}
            for tier, model in _MODELS.items()
        }
        return Played(
            result=evaluate(outcomes, test, recorded, _PRICES, sum(prompt.stream for prompt in chosen)),
            trained=trained,
            summary=stage.summary(status, len(chosen)),
            guards=stage.guards(status, len(chosen)),
            seconds=time.monotonic() - begin,
        )


@contextlib.contextmanager
def _state(options: Options) -> Iterator[Path]:
    """Yield the lab's folder; a temporary one is removed, but for its logs' sake not after a failure."""
    if options.state_dir is not None:
        yield options.state_dir
        return
    state = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
    try:
        yield state
    except Exception as error:
        error.add_note(f"the lab's logs are kept in {state}")
        raise
    except BaseException:  # Ctrl-C
        shutil.rmtree(state, ignore_errors=True)
        raise
    if not options.keep:
        shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def _lab(
    options: Options, state: Path, relay: Callable[[str], None]
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start a lab; yield a function that waits until it is up and returns its status. End it."""
    arguments = ["--state", str(state), "--data", str(options.data), "--tier-speed", str(options.tier_speed)]
    if options.keep:
        running.detach(arguments, state, relay)
        yield lambda: control.ask(state, {"do": "status"})
        relay(f"the lab stays up; `pointsman lab down --state {state}` ends it")
        return
    if control.holder(state) is not None:
        raise LabError(f"a lab runs already in {state}; `pointsman lab down --state {state}` ends it")
    child = Child(
        Spec(
            "lab",
            [sys.executable, "-m", "pointsman", "lab", "up", *arguments],
            running.log_path(state, running.OWN_LOG),
            address="",
            ready=lambda: running.is_up(state),
            # The first time, binaries are built; the lab has a deadline of its own after that.
            start_deadline_s=3600,
            stop_grace_s=40,
        )
    )

    def up() -> dict[str, Any]:
        follow = running.follow(child.spec.log, relay)
        while not child.spec.ready() and child.exit_code() is None:
            follow()
            time.sleep(0.1)
        follow()
        if child.exit_code() is not None:
            raise LabError(f"the lab could not be started: see {child.spec.log}")
        return control.ask(state, {"do": "status"})

    try:
        yield up
    finally:
        child.stop()
