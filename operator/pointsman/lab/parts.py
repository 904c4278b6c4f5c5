"""The lab's parts: which servers, where they listen, how they find each other."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import REPOSITORY, ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.models import CHEAP_MODEL, SMALL_MODEL, STRONG_MODEL
from pointsman.lab.pki import Authority, Pair
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port
from pointsman.lab.prometheus import Prometheus, Target
from pointsman.lab.supervisor import Part
from pointsman.lab.triton import Triton
from pointsman.xds.bootstrap import ShadowListener, Tls, bootstrap

GATEWAY: Final = "default"
TIER_MODELS: Final = {
    "tier-small": SMALL_MODEL,
    "tier-cheap": CHEAP_MODEL,
    "tier-spare": CHEAP_MODEL,
    "tier-strong": STRONG_MODEL,
}
"""The replay tiers, by part. `tier-spare` is a second home of the cheap model: one that may be broken."""
_EVIDENCE_SCRAPE_S: Final = 2
"""Verdicts are made of the evaluator's counts: what it counted shall be seen soon."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a lab may be told."""

    state_dir: Path
    data: Path = REPOSITORY / "data" / "mmlu-pro"
    tier_speed: float = 1.0
    """Divides the replay tiers' synthetic latency; 0: none."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Lab:
    """All parts, and where a user finds what he needs."""

    parts: tuple[Part, ...]
    entry: str
    kubeconfig: Path
    prometheus: str


def _address() -> str:
    return f"{LOCALHOST}:{free_port()}"


@dataclass(frozen=True, slots=True)
class _Addresses:
    """`host:port` of everything but etcd, the API server and Triton, which choose their own."""

    operator: str = field(default_factory=_address)
    xds: str = field(default_factory=_address)
    xds_grpc: str = field(default_factory=_address)
    evaluator: str = field(default_factory=_address)
    access_log: str = field(default_factory=_address)
    capture: str = field(default_factory=_address)
    envoy_admin: str = field(default_factory=_address)
    entry: str = field(default_factory=_address)
    shadow: str = field(default_factory=_address)
    states: str = field(default_factory=_address)
    tiers: dict[str, str] = field(default_factory=lambda: {name: _address() for name in TIER_MODELS})


def build(options: Options, say: Callable[[str], None]) -> Lab:
    """Lay out a lab in its (fresh) state folder: ports, certificates, configuration. Starts nothing."""
    state = options.state_dir.resolve()
    at = _Addresses()
    plane = ControlPlane(state, say=say)
    triton = Triton(state)
    mesh = Authority(state / "mesh")
    hosts = (LOCALHOST, "localhost")
    certificates = {
        name: mesh.leaf(name, f"pointsman:{name}", hosts=(*hosts, _mesh_name(name)))
        for name in ("xds", "evaluator", "envoy")
    }
    prometheus = Prometheus(state, _targets(at, triton), say=say)
    ours = _Ours(state, plane, mesh.pair.cert, certificates)
    envoy = Envoy(state, lambda: _bootstrap(at, mesh.pair.cert, certificates["envoy"]))
    parts = (
        Part(plane.etcd, last=True),
        Part(plane.apiserver, then=plane.install, last=True),
        Part(prometheus),
        Part(triton),
        *(Part(_tier(options, state, name, model, at.tiers[name])) for name, model in TIER_MODELS.items()),
        Part(ours.operator(at), after=("kube-apiserver",)),
        Part(ours.xds(at), after=("kube-apiserver",)),
        Part(ours.evaluator(at), after=("kube-apiserver",)),
        Part(_states(state, plane, at.states), after=("kube-apiserver",)),
        Part(envoy, after=("xds",)),
    )
    return Lab(parts, f"http://{at.entry}", plane.kubeconfig, prometheus.url)


@dataclass(frozen=True, slots=True)
class _Ours:
    """Launchers of our own processes."""

    state: Path
    plane: ControlPlane
    authority: Path
    certificates: dict[str, Pair]

    def operator(self, at: _Addresses) -> Server:
        # The lab has one operator at a time: after a kill it need not wait for its own Lease to expire, and a
        # busy machine need not end it.
        arguments = [
            "--xds-url",
            f"http://{at.xds}",
            "--http-address",
            at.operator,
            "--lease-identity",
            "lab",
            "--lease-duration",
            "60s",
        ]
        return self._server("operator", at.operator, arguments)

    def xds(self, at: _Addresses) -> Server:
        arguments = ["--grpc-address", at.xds_grpc, "--http-address", at.xds, "--entry-address", at.entry]
        return self._server("xds", at.xds, arguments + self._tls("xds"))

    def evaluator(self, at: _Addresses) -> Server:
        arguments = ["--access-log-address", at.access_log, "--capture-address", at.capture]
        arguments += ["--http-address", at.evaluator, "--store", str(self.state / "evaluator.sqlite")]
        arguments += ["--envoy-admin", f"http://{at.envoy_admin}", "--shadow-url", f"https://{at.shadow}"]
        return self._server("evaluator", at.evaluator, arguments + self._tls("evaluator"))

    def _tls(self, name: str) -> list[str]:
        pair = self.certificates[name]
        return [
            "--tls-cert",
            str(pair.cert),
            "--tls-key",
            str(pair.key),
            "--tls-client-ca",
            str(self.authority),
        ]

    def _server(self, name: str, address: str, arguments: list[str]) -> Server:
        command = [*_pointsman(), name, "--kubeconfig", str(self.plane.kubeconfig_of(name)), *arguments]
        return _python_server(self.state, name, command, address, "/readyz")


def _tier(options: Options, state: Path, name: str, model: str, address: str) -> Server:
    command = [
        *_pointsman(),
        "tier",
        "--data",
        str(options.data.resolve()),
        "--model",
        model,
        "--address",
        address,
    ]
    command += ["--seed", str(options.seed), "--speed", str(options.tier_speed)]
    return _python_server(state, name, command, address, "/healthz")


def _states(state: Path, plane: ControlPlane, address: str) -> Server:
    command = [*_pointsman(), "lab", "states", "--kubeconfig", str(plane.kubeconfig), "--address", address]
    return _python_server(state, "states", command, address, "/metrics")


def _python_server(state: Path, name: str, command: list[str], address: str, path: str) -> Server:
    log = state / "log" / f"{name}.log"
    # Numpy's threads would only fight with Envoy and Triton for the processors.
    env = {"PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # Settings of a pointsman of the user's must not reach the lab's.
    env |= {name: "" for name in os.environ if name.startswith("POINTSMAN_")}
    return Server(Spec(name, command, log, address, lambda: http_ok(address, path), env=env))


def _pointsman() -> list[str]:
    return [sys.executable, "-m", "pointsman"]


def _targets(at: _Addresses, triton: Triton) -> dict[str, Target]:
    return {
        "operator": Target(at.operator),
        "xds": Target(at.xds),
        "evaluator": Target(at.evaluator, interval_s=_EVIDENCE_SCRAPE_S),
        "states": Target(at.states, interval_s=_EVIDENCE_SCRAPE_S),
        "envoy": Target(at.envoy_admin, "/stats/prometheus"),
        "triton": Target(triton.metrics_address),
        **{name: Target(address) for name, address in at.tiers.items()},
    }


def _mesh_name(name: str) -> str:
    """Return the DNS name that only this part's certificate carries."""
    return f"{name}.pointsman.internal"


def _bootstrap(at: _Addresses, authority: Path, pair: Pair) -> dict[str, Any]:
    tls = Tls(str(authority), str(pair.cert), str(pair.key), "localhost")
    return bootstrap(
        gateway=GATEWAY,
        node_id=f"lab-{uuid.uuid4()}",  # new at each start: the xds server tells runs apart by it
        admin_address=at.envoy_admin,
        xds_addresses=[at.xds_grpc],
        access_log_address=at.access_log,
        capture_address=at.capture,
        xds_tls=tls,
        evaluator_tls=tls,
        shadow=ShadowListener(at.shadow, replace(tls, server_name=_mesh_name("evaluator"))),
    )
