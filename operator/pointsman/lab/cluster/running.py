"""A cluster from `up` to `down`: kept running by a supervisor, cleared from the machine however it ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pointsman.lab import control
from pointsman.lab.cluster import machine, node
from pointsman.lab.cluster.cluster import Cluster
from pointsman.lab.cluster.sweep import sweep
from pointsman.lab.process import LabError
from pointsman.lab.supervisor import Supervisor

_FOLDERS: Final = ("etcd", "log", "node", "pki", "volumes")
_FILES: Final = ("*.kubeconfig", "control.sock")


@dataclass(frozen=True, slots=True)
class Options:
    """What a cluster may be told."""

    state_dir: Path
    images: tuple[str, ...] = ()
    gpus: int = 8
    metrics: bool = False


def run(options: Options, say: Callable[[str], None], deadline_s: float) -> None:
    """Run a cluster in this process until SIGINT, SIGTERM or SIGHUP."""
    state = options.state_dir.resolve()
    with control.claim(state):
        clear(state)
        cluster = Cluster(state, images=options.images, gpus=options.gpus, metrics=options.metrics, say=say)
        try:
            cluster.lay_out()
            asyncio.run(_run(cluster, say, deadline_s))
        finally:
            sweep(state)
        say("the cluster is down")


async def _run(cluster: Cluster, say: Callable[[str], None], deadline_s: float) -> None:
    supervisor = Supervisor(cluster.parts, say)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def handle(command: dict[str, Any]) -> dict[str, Any]:
        match command.get("do"):
            case "status":
                images = await supervisor.in_thread(lambda: node.loaded(cluster.layout))
                return {
                    "parts": supervisor.status(),
                    "kubeconfig": str(cluster.kubeconfig),
                    "images": images,
                }
            case "up":
                return {"up": supervisor.up.is_set()}
            case "load":
                loaded = await supervisor.in_thread(lambda: cluster.load(command["images"]))
                return {"loaded": loaded}
            case "balance":
                names = (str(command["namespace"]), str(command["service"]))
                return {"address": await supervisor.in_thread(lambda: cluster.balance(*names))}
        raise LabError(f"unknown command {command}")

    async def greet() -> None:
        await supervisor.up.wait()
        say(f"the cluster is up; export KUBECONFIG={cluster.kubeconfig}")

    async with control.serve(cluster.state_dir, handle):
        greeting = asyncio.create_task(greet())
        try:
            await supervisor.run(stop, deadline_s)
        finally:
            greeting.cancel()


def down(state: Path) -> bool:
    """End the cluster of the folder and clear what is left of it; False if there was nothing."""
    state = state.resolve()
    ran = control.end(state) if state.exists() else False
    left = machine.owner() == state
    if left:
        with control.claim(state):
            sweep(state)
    return ran or left


def clear(state: Path) -> None:
    """Remove what an earlier cluster left in its folder."""
    owner = machine.owner()
    if owner == state:
        sweep(state)
    for name in _FOLDERS:
        shutil.rmtree(state / name, ignore_errors=True)
    for pattern in _FILES:
        for path in state.glob(pattern):
            path.unlink()


def ask(state: Path, message: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask the cluster of the folder; `LabError` with the remedy if none runs."""
    if control.holder(state) is None:
        raise LabError(f"no cluster runs in {state}; start one with `pointsman lab cluster up`")
    return control.ask(state, message, timeout_s)


def known(names: Iterable[str]) -> tuple[str, ...]:
    """Return image names, `ours` and `all` spelled out; `LabError` for one that there is no recipe of."""
    from pointsman.lab.images.catalog import OURS, RECIPES

    found: dict[str, None] = {}
    for name in names:
        for each in {"ours": OURS, "all": tuple(RECIPES)}.get(name, (name,)):
            if each not in RECIPES:
                raise LabError(f"no image is named {each}; there are {', '.join(RECIPES)}")
            found[each] = None
    return tuple(found)
