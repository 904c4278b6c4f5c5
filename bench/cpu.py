"""CPU per routed request, split Envoy / Triton, against the same request passed straight through Envoy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.rig import HOST, STRONG, Rig, cpu_seconds, lab, spread
from pointsman.lab.envoy import Envoy
from pointsman.lab.load import Load, Outcome, Prompt, Target
from pointsman.lab.process import LOCALHOST, free_port

RATE = 200.0
BLOCK = 2000
BLOCKS = 5
_TYPES = "type.googleapis.com/envoy.extensions"


@dataclass
class Figures:
    """CPU milliseconds a request, one value a block."""

    envoy: list[float] = field(default_factory=list)
    triton: list[float] = field(default_factory=list)
    straight: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)


async def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Send blocks through the lab's Envoy and through a plain one, in turn."""
    with lab() as rig:
        policy = rig.stack.policy(
            "bench",
            host=HOST,
            evaluation={"capture": {"samplePermille": 100, "redact": ["Email", "Phone"]}},
            **rig.stack.classified(rig.bundle, "bench-bundle"),
        )
        rig.stack.apply(policy)
        rig.stack.ready("bench")
        with Envoy(rig.state, passthrough(rig), name="straight", concurrency=2) as straight:
            return await _blocks(rig, straight, say)


async def _blocks(rig: Rig, straight: Envoy, say: Callable[[str], None]) -> dict[str, Any]:
    figures, reasons = Figures(), Counter[str]()
    port = straight.bootstrap_path.read_text().split('"port_value": ')[-1].split("\n")[0].strip(" },")
    plain = Target(f"http://{LOCALHOST}:{port}", "plain.example.com", STRONG)
    assert straight.child is not None
    pids = {name: rig.stack.part(name)["pid"] for name in ("envoy", "triton")}
    await _send(rig, rig.stack.target(HOST), 400)  # warm connections and caches
    await _send(rig, plain, 400)
    for block in range(BLOCKS):
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        outcomes = await _send(rig, rig.stack.target(HOST), BLOCK)
        used = {name: (cpu_seconds(pid) - before[name]) * 1000 / BLOCK for name, pid in pids.items()}
        reasons.update(outcome.reason or str(outcome.status) for outcome in outcomes)
        start = cpu_seconds(straight.child.pid)
        await _send(rig, plain, BLOCK)
        base = (cpu_seconds(straight.child.pid) - start) * 1000 / BLOCK
        figures.envoy.append(used["envoy"])
        figures.triton.append(used["triton"])
        figures.straight.append(base)
        figures.ratio.append((used["envoy"] + used["triton"]) / base)
        say(
            f"block {block + 1}/{BLOCKS}: {used['envoy']:.3f} (Envoy) + {used['triton']:.3f} (Triton), "
            f"straight {base:.3f} ms CPU a request: {figures.ratio[-1]:.2f} x"
        )
    result = {
        "requests_per_block": BLOCK,
        "rate": RATE,
        "envoy_ms": spread(figures.envoy),
        "triton_ms": spread(figures.triton),
        "straight_ms": spread(figures.straight),
        "ratio": spread(figures.ratio),
        "reasons": dict(reasons),
    }
    say(f"ratio min/median/max: {'/'.join(f'{v:.2f}' for v in spread(figures.ratio).values())}")
    return result


async def _send(rig: Rig, target: Target, count: int) -> list[Outcome]:
    load = Load(target, RATE)
    await load.run(Prompt(f"b{i}", rig.texts[i % len(rig.texts)]) for i in range(count))
    failed = [outcome for outcome in load.outcomes if outcome.status != 200]
    if failed:
        raise SystemExit(f"{len(failed)} of {count} requests failed, for instance: {failed[0]}")
    return load.outcomes


def passthrough(rig: Rig) -> dict[str, Any]:
    """Return the bootstrap of an Envoy that does nothing but pass requests to the strong tier."""
    host, _, port = rig.stack.address("tier-strong").partition(":")
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "straight",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "strong", "timeout": "60s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "admin": {"address": _address(LOCALHOST, free_port())},
        "node": {"id": "straight", "cluster": "straight"},
        "static_resources": {
            "clusters": [
                {
                    "name": "strong",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "strong",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _address(host, int(port))}}]}
                        ],
                    },
                }
            ],
            "listeners": [
                {
                    "name": "straight",
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                    "address": _address(LOCALHOST, free_port()),
                }
            ],
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
