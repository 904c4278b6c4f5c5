"""What the benches share: a lab with a classifier in force, and a look at processes' CPU and memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pointsman.routers import dataset
from stack import Bundle, Stack, config_map, pointsman

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "data" / "mmlu-pro"
CHEAP, STRONG = "gemini-1.5-flash-002", "gemini-1.5-pro-002"
HOST = "bench.example.com"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Rig:
    """A running lab and what to send through it."""

    stack: Stack
    bundle: Bundle
    texts: list[str]
    state: Path


@contextmanager
def lab() -> Iterator[Rig]:
    """Run a lab whose tiers answer at once, with a trained bundle as ConfigMap `bench-bundle`."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as folder:
        state, out = Path(folder) / "lab", Path(folder) / "bundle.zip"
        arguments = ("--data", str(DATA), "--cheap", CHEAP, "--strong", STRONG, "--out", str(out), "--json")
        threshold = int(json.loads(pointsman("train", *arguments).stdout)["report"]["threshold_permille"])
        bundle = Bundle(out.read_bytes(), threshold)
        pointsman("lab", "up", "-d", "--state", str(state), "--tier-speed", "1000", deadline_s=300)
        try:
            stack = Stack(state)
            stack.apply(config_map("bench-bundle", bundle))
            texts = list(dataset.load(DATA, (CHEAP, STRONG)).split()[2].texts)
            yield Rig(stack, bundle, texts, state)
        finally:
            pointsman("lab", "down", "--state", str(state))


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time (user and system) that a process and its descendants have used."""
    total = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants, in MB."""
    total = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return total / 1024


def spread(values: list[float]) -> dict[str, float]:
    """Return minimum, median and maximum."""
    ordered = sorted(values)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1))]
