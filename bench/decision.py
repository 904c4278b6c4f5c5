"""The decision rule on simulated arms: false verdicts, samples until a verdict, hours to promotion, CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np

from decision_world import Crossings, World, blocks, fails, halves, passes, ramp
from pointsman.stats.canary import read_canary
from pointsman.stats.noise import noise_floor
from pointsman.stats.planning import Plan, hours_to_promotion
from pointsman.stats.types import Noise, Rule

STREAMS = 2000
GROUPS = 20
"""Groups of streams, each with a noise floor measured for itself."""
SHOCK = 0.02
RULE = Rule()
RAMP = World(
    weights=ramp((0.01, 28), (0.05, 28), (0.25, 28), (0.5, 27)),
    per_window=2400,
    looks=15,
    level=0.9,
    cycle=0.05,
)
"""28 hours: a ramp of four steps through more than a day's swing of ± 5 points, a look a minute."""
STARTS = tuple(sorted({0, 28, 56, 84, *range(4, 111, 4)}))
EDGE = World(weights=(1 / 11,) * 111, per_window=4950, looks=5, level=0.9, cycle=0.05)
"""28 hours, windows of 4,500 to 450."""


async def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Simulate everything; a seed each, so that the figures are the same every time."""
    return {
        "identical": identical(say),
        "boundary": boundary(say),
        "found": found(say),
        "passed": passed(say),
        "hours": hours(say),
        "reading": reading(say),
    }


def identical(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Identical arms, the whole budget of 1 % on one stream: how many fail."""
    rows = []
    for shock in (0.0, SHOCK):
        world = replace(RAMP, shock=shock)
        false, floors = 0, []
        for group in range(GROUPS):
            rng = np.random.default_rng([11, group])
            floors.append(noise_floor(halves(world, 96, rng)).tau_star)
            false += _count(
                fails(
                    world, STREAMS // GROUPS, rng, minimum_drop=RULE.minimum_drop, alpha=RULE.false_alarm,
                    tau=floors[-1], starts=STARTS, prior=world.level,
                )
            )  # fmt: skip
            if group % 5 == 4:
                say(f"identical arms, shocks {shock}: group {group + 1}/{GROUPS}")
        samples = round(world.per_window * float(np.sum(world.weights)))
        rows.append(
            {"shock": shock, "streams": STREAMS, "candidate_samples": samples, "false_fails": false,
             "tau_star": float(np.median(floors))}
        )  # fmt: skip
        say(f"identical arms, shocks {shock}: {false} of {STREAMS} failed; {samples} candidate samples each")
    return rows


def boundary(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Put the true drop right at the margin: how often either test errs at nominal 5 %."""
    rows = []
    for name, world in (("9:1", EDGE), ("ramp", replace(RAMP, looks=5))):
        for shock, tau in ((0.0, 0.0), (SHOCK, SHOCK * sqrt(2)), (SHOCK, 0.0)):
            rng = np.random.default_rng(12)
            worse = replace(world, shock=shock, drop=RULE.minimum_drop)
            harmful = replace(world, shock=shock, drop=RULE.tolerated_drop)
            fail = fails(
                worse, STREAMS, rng, minimum_drop=RULE.minimum_drop, alpha=0.05, tau=tau, prior=world.level
            )
            good = passes(
                harmful, STREAMS, rng, margin=RULE.tolerated_drop, alpha=0.05, tau=tau, prior=world.level
            )
            row = {"weights": name, "shock": shock, "tau_star": tau, "fail": fail.share, "pass": good.share}
            rows.append(row)
            say(
                f"on the boundary, {name}, shocks {shock}, tau* {tau:.3f}: "
                f"Fail errs {fail.share:.4f}, Pass errs {good.share:.4f}"
            )
    return rows


def found(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """94 → 79, one of six rubrics: candidate samples until Fail."""
    rows = []
    for weight in (0.5, 0.1, 0.01):
        world = World(weights=(weight,) * 120, looks=30, drop=0.15)
        crossed = fails(
            world, STREAMS, np.random.default_rng(13), minimum_drop=RULE.minimum_drop,
            alpha=RULE.false_alarm / 2 / 6, prior=world.level,
        )  # fmt: skip
        rows.append({"weight": weight, **_samples(crossed)})
        say(f"94 → 79 at weight {weight}: {rows[-1]}")
    return rows


def passed(say: Callable[[str], None]) -> dict[str, Any]:
    """Identical arms, p = .9, 9 : 1: candidate samples until Pass at 3 points."""
    world = World(weights=(0.1,) * 160, looks=15, level=0.9)
    crossed = passes(
        world,
        STREAMS,
        np.random.default_rng(14),
        margin=RULE.tolerated_drop,
        alpha=RULE.false_pass,
        prior=0.9,
    )
    figures = _samples(crossed)
    say(f"identical arms pass at 3 points: {figures}")
    return figures


def hours(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Forecast hours to promotion of identical arms, intents down to 4 % of the traffic."""
    rows = []
    for rate, first in ((100.0, 0.01), (10.0, 0.01), (1.0, 0.01), (1.0, 0.05)):
        plan = Plan(
            (first, 0.05, 0.25, 0.5), (0.25,) * 4, rate, p=0.94, shares=(1.0, 0.6, 0.2, 0.12, 0.04, 0.04)
        )
        rows.append({"rate": rate, "first_weight": first, "hours": hours_to_promotion(plan, RULE)})
        say(f"{rate:g} requests/s from {first:.0%}: {rows[-1]['hours']:.1f} h to promotion")
    return rows


def reading(say: Callable[[str], None]) -> dict[str, float]:
    """CPU seconds to read 60 streams of 300 windows."""
    noise = Noise(windows=96, tau=0.005, tau_star=0.01, phi=1.2)
    world = World(weights=(0.1,) * 300, looks=1)
    streams = [
        replace(
            blocks(replace(world, drop=0.001 * (seed % 30)), np.random.default_rng(seed), prior=0.94),
            starts=(0, *range(4, 300, 4)),
        )
        for seed in range(60)
    ]
    began = time.process_time()
    for stream in streams:
        read_canary(stream, noise, RULE, RULE.false_alarm / 120)
    seconds = time.process_time() - began
    say(f"60 streams of 300 windows read in {seconds:.2f} s of CPU")
    return {"streams": 60, "windows": 300, "cpu_seconds": seconds}


def _count(crossings: Crossings) -> int:
    return int(np.isfinite(crossings.samples).sum())


def _samples(crossings: Crossings) -> dict[str, float]:
    reached = crossings.samples[np.isfinite(crossings.samples)]
    return {
        "share": crossings.share,
        "mean": float(reached.mean()),
        "median": float(np.median(crossings.samples)),
        "p90": float(np.quantile(crossings.samples, 0.9)),
    }
