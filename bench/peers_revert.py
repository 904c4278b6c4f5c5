"""From the first bad count visible in Prometheus to traffic reverted: Flagger, Argo Rollouts and us.

One control plane, one Prometheus that scrapes every second, the same draws. Each tool is alone with its
objects. What a peer's data plane needs to take a written weight over is left out; ours is shown apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers_objects as objects
from bench import peers_rules, peers_tables, peers_tools, peers_trials, peers_watch
from bench.peers_counts import GOOD, Counts, Resting, Subject, visible_at
from bench.peers_trials import WINDOWS, Size, Trial, World
from bench.rig import quantile
from evidence_kit import Exporter
from pointsman.clock import system_clock
from pointsman.kube.client import KubeClient
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.prometheus import Prometheus, Target

Say = Callable[[str], None]
BAD = (0.79, 0.50, GOOD)
PHASE_S = 10.0
"""Candidates break at any time of a check's interval: Flagger's is 10 s."""
PATIENCE_S = 180.0
"""After the last candidate broke."""
REST_S = 1200.0
"""For so long at least our policies have been at rest before a change: twenty windows of noise."""


async def measure(say: Say) -> dict[str, Any]:
    """Run every tool once and compute the false alarms of its settings."""
    return await run(say, Size())


async def run(say: Say, size: Size, only: Iterable[str] = ()) -> dict[str, Any]:
    """As `measure`, in another size, or for some of the tools."""
    makers: dict[str, Callable[[World], Trial]] = {
        "flagger": peers_trials.flagger,
        "argo": peers_trials.argo_rollouts,
        "pointsman-1s": lambda world: peers_trials.pointsman(world, 1.0),
        "pointsman-5s": lambda world: peers_trials.pointsman(world, 5.0),
    }
    results = {}
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder,
        Exporter() as exporter,
        peers_tools.cluster(Path(folder) / "plane", say) as plane,
        Prometheus(Path(folder), {"bench": Target(exporter.address, interval_s=1)}, say=say) as server,
    ):
        world = World(plane, server.url, exporter, size, say)
        trials = {name: make(world) for name, make in makers.items() if not only or name in only}
        async with _at_rest(world, trials.values()) as resting:
            for name, trial in trials.items():
                if trial.ours:
                    await _rested(resting, say)
                results[name] = await _try(world, trial)
    say(peers_tables.reverted(results))
    computed = await asyncio.to_thread(peers_rules.compute, say)
    say(peers_tables.computed(computed))
    return {"live": results, "computed": computed}


async def _try(world: World, trial: Trial) -> dict[str, Any]:
    subjects = _subjects(world.size)
    by_name = {subject.name: subject for subject in subjects}
    say = world.say
    say(f"{trial.label}: {len(subjects)} objects")
    with Kubectl(world.plane.kubeconfig) as kubectl, trial.tool.running():
        kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": trial.namespace}}])
        await asyncio.to_thread(trial.prepare, kubectl, subjects)
        async with _observed(world, trial, by_name):
            await _until(lambda: trial.settled(kubectl) == len(subjects), 900, "objects come to rest")
            for subject in subjects:
                await asyncio.to_thread(trial.change, kubectl, subject)
            await _until(lambda: all(s.began_at for s in subjects), 600, "every candidate has weight")
            with _machine(say) as busy:
                await _watched(subjects, world.size, say)
            trial.tool.pids()  # all of it is still there
        visible = visible_at(world.prometheus, trial.namespace)
    await asyncio.to_thread(_delete, world.plane, trial.namespace)
    world.exporter.forget(trial.namespace)
    rows = [_row(bad, window, subjects, visible, world.size) for bad in BAD for window in WINDOWS]
    for row in rows:
        say(f"{trial.label}: {_words(row)}")
    return {"version": trial.tool.version, "cases": rows, "processors_busy": busy[0]}


def _subjects(size: Size) -> list[Subject]:
    rng = np.random.default_rng(20)

    def good_s(window: int, n: int) -> float:
        return window + PHASE_S * (n + float(rng.random())) / size.each

    return [
        Subject(f"c{round(bad * 100)}-{window}-{n}", bad, good_s(window, n))
        for bad in BAD
        for window in WINDOWS
        for n in range(size.each)
    ]


@asynccontextmanager
async def _at_rest(world: World, trials: Iterable[Trial]) -> AsyncIterator[Resting]:
    """Count what our incumbents answer from now on."""
    names = [subject.name for subject in _subjects(world.size)]
    spaces = [trial.namespace for trial in trials if trial.ours]
    revisions = {name: objects.revision(name, world.prometheus) for name in names}
    all_of = {(space, name): revisions[name] for space in spaces for name in names}
    resting = Resting(world.exporter, objects.version_of_rubric(), all_of)
    task = asyncio.create_task(resting.run())
    try:
        await asyncio.sleep(0)
        yield resting
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _observed(world: World, trial: Trial, subjects: dict[str, Subject]) -> AsyncIterator[None]:
    """Follow the objects and count for them."""
    version = objects.version_of_rubric()
    counts = Counts(world.exporter, trial.namespace, version, list(subjects.values()), trial.ours)
    async with await KubeClient.open(str(world.plane.kubeconfig)) as client:
        follow = peers_watch.follow(client, trial.resource, trial.namespace, subjects, trial.read)
        jobs = [counts.run(), follow]
        if trial.ours:
            jobs.append(peers_watch.follow_envoy(trial.tool.more["xds"], trial.namespace, subjects))
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):  # not a cancellation: what it saw is not the whole
                raise end


async def _watched(subjects: list[Subject], size: Size, say: Say) -> None:
    """Wait until all that broke are reverted or patience ends, and identical arms were watched."""
    told = 0.0
    while True:
        now = system_clock().timestamp()
        broken = [s for s in subjects if s.bad < GOOD]
        waiting = [s for s in broken if s.reverted_at is None and now < (s.breaks_at or now) + PATIENCE_S]
        equal = [s for s in subjects if s.bad >= GOOD and now < (s.began_at or now) + size.identical_s]
        if not waiting and not equal:
            await asyncio.sleep(3)  # the last acknowledgements
            return
        if now - told >= 30:
            say(f"  waiting for {len(waiting)} to be reverted; {len(equal)} identical pairs are watched")
            told = now
        await asyncio.sleep(0.2)


def _row(
    bad: float, window: int, subjects: list[Subject], visible: dict[str, float], size: Size
) -> dict[str, Any]:
    """Return what became of one case; delays in seconds from the first bad sample in Prometheus."""
    mine = [s for s in subjects if s.name.startswith(f"c{round(bad * 100)}-{window}-")]
    row: dict[str, Any] = {"good": GOOD, "bad": bad, "window_s": window, "tried": len(mine)}
    if bad >= GOOD:
        early = [s for s in mine if s.reverted_at and s.reverted_at < (s.began_at or 0) + size.identical_s]
        return row | {"watched_s": size.identical_s, "false_alarms": len(early)}
    honest = [s for s in mine if s.name in visible and not _early(s, visible[s.name])]
    reverted = [s for s in honest if s.reverted_at is not None]
    row |= {"false_alarms": len(mine) - len(honest), "never": len(honest) - len(reverted)}
    row |= _figures("reverted", [s.reverted_at - visible[s.name] for s in reverted if s.reverted_at])
    acknowledged = [s.acknowledged_at - visible[s.name] for s in reverted if s.acknowledged_at]
    return row | (_figures("acknowledged", acknowledged) if acknowledged else {})


def _early(subject: Subject, visible: float) -> bool:
    return subject.reverted_at is not None and subject.reverted_at < visible


def _figures(name: str, delays: list[float]) -> dict[str, Any]:
    if not delays:
        return {name: None}
    figures = {"n": len(delays), "p50_s": quantile(delays, 0.5), "max_s": max(delays)}
    return {name: figures | {"all_s": [round(delay, 2) for delay in sorted(delays)]}}


def _words(row: dict[str, Any]) -> str:
    case = f"{row['good']:.0%} → {row['bad']:.0%}, {row['window_s']} s: "
    if "watched_s" in row:
        return f"{case}{row['false_alarms']} of {row['tried']} identical reverted in {row['watched_s']:.0f} s"
    parts = [f"{row['false_alarms']} of {row['tried']} reverted before", f"{row['never']} never"]
    told = {name: row[name] for name in ("reverted", "acknowledged") if row.get(name)}
    parts += [f"{name} p50 {f['p50_s']:.1f} s, max {f['max_s']:.1f} s" for name, f in told.items()]
    return case + "; ".join(parts)


def _delete(plane: ControlPlane, namespace: str) -> None:
    """Delete a namespace with all that is in it; does not wait."""
    with Kubectl(plane.kubeconfig) as kubectl:
        kubectl.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})


@contextlib.contextmanager
def _machine(say: Say) -> Any:
    """Yield a list that holds, in the end, the share of the processors' time that was used meanwhile."""
    found: list[float] = []
    idle, total = _processors()
    yield found
    now_idle, now_total = _processors()
    found.append(1 - (now_idle - idle) / (now_total - total))
    say(f"  the machine's processors were busy {found[0]:.0%} of the time")


def _processors() -> tuple[int, int]:
    fields = [int(n) for n in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


async def _rested(resting: Resting, say: Say) -> None:
    """Wait until the incumbents' noise has been measured for long enough."""
    left = resting.began_at + REST_S - system_clock().timestamp()
    if left > 0:
        say(f"noise of the incumbents is measured for {left:.0f} s more")
        await asyncio.sleep(left)


async def _until(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not await asyncio.to_thread(condition):
        if loop.time() > end:
            raise SystemExit(f"not within {deadline_s:.0f} s: {what}")
        await asyncio.sleep(0.5)
