"""200 policies (20 distinct bundles) on one API server and one Envoy: readiness, memory, silence, healing."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

import httpx

from bench.rig import Rig, lab, resident_mb
from stack import POLICIES, REVISIONS, Bundle, condition, config_map

POLICY_COUNT = 200
BUNDLES = 20
REST_S = 60.0


async def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Apply the fleet, wait until all are Ready; look at memory, at 60 s of rest, at a deleted model."""
    with lab() as rig:
        return await asyncio.to_thread(_measure, rig, say)


def _measure(rig: Rig, say: Callable[[str], None]) -> dict[str, Any]:
    empty = _memory(rig)
    bundles = [_variant(rig.bundle, index) for index in range(BUNDLES)]
    for index, bundle in enumerate(bundles):
        rig.stack.apply(config_map(f"fleet-{index}", bundle))
    start = time.monotonic()
    parts = [rig.stack.classified(bundle, f"fleet-{index}") for index, bundle in enumerate(bundles)]
    rig.stack.apply(*(rig.stack.policy(f"fleet-{i}", **parts[i % BUNDLES]) for i in range(POLICY_COUNT)))
    applied = time.monotonic() - start
    _wait(lambda: _ready(rig) == POLICY_COUNT, 400, lambda: f"{_ready(rig)}/{POLICY_COUNT} Ready")
    ready = time.monotonic() - start
    say(f"{POLICY_COUNT} policies applied in {applied:.1f} s, all Ready after {ready:.1f} s")
    time.sleep(5)
    memory = _memory(rig)
    for name, megabytes in memory.items():
        say(f"{name}: {megabytes:.0f} MB resident ({empty[name]:.0f} MB before)")
    before = _versions(rig)
    time.sleep(REST_S)
    writes = len(before.items() ^ _versions(rig).items())
    say(f"writes to our kinds in {REST_S:.0f} s at rest: {writes}")
    healed = _delete_a_model(rig, bundles[0])
    say(f"a model deleted from Triton was back after {healed:.1f} s")
    return {
        "applied_s": applied,
        "ready_s": ready,
        "resident_mb": memory,
        "resident_mb_empty": empty,
        "writes_at_rest": writes,
        "healed_s": healed,
    }


def _variant(bundle: Bundle, index: int) -> Bundle:
    """Return the same classifier in a bundle with a digest of its own."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == "bundle.json":
                data = json.dumps(json.loads(data) | {"createdBy": f"bench variant {index}"}).encode()
            target.writestr(info, data)
    return Bundle(out.getvalue(), bundle.threshold_permille)


def _memory(rig: Rig) -> dict[str, float]:
    parts = rig.stack.status()["parts"]
    return {
        name: resident_mb(parts[name]["pid"]) for name in ("operator", "xds", "evaluator", "envoy", "triton")
    }


def _ready(rig: Rig) -> int:
    items = rig.stack.kube.get(POLICIES.format("default"))["items"]
    return sum(condition(item, "Ready").get("status") == "True" for item in items)


def _versions(rig: Rig) -> dict[str, str]:
    found = {}
    for path in (POLICIES, REVISIONS):
        for item in rig.stack.kube.get(path.format("default"))["items"]:
            found[item["metadata"]["uid"]] = item["metadata"]["resourceVersion"]
    return found


def _delete_a_model(rig: Rig, bundle: Bundle) -> float:
    url = f"http://{rig.stack.address('triton')}/v2"
    model = f"pm-{bundle.sha256}"

    def loaded() -> bool:
        return httpx.get(f"{url}/models/{model}/ready", timeout=10).status_code == httpx.codes.OK

    httpx.post(f"{url}/repository/models/{model}/unload", json={}, timeout=10).raise_for_status()
    start = time.monotonic()
    _wait(lambda: not loaded(), 10, lambda: "the model is still loaded")
    _wait(loaded, 60, lambda: "the model is not back")
    return time.monotonic() - start


def _wait(condition_: Callable[[], bool], deadline_s: float, tell: Callable[[], str]) -> None:
    end = time.monotonic() + deadline_s
    while not condition_():
        if time.monotonic() > end:
            raise SystemExit(f"not within {deadline_s:.0f} s: {tell()}")
        time.sleep(0.2)
