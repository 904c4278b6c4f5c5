"""The real Envoy with our own configuration, between servers whose behaviour a test sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from envoy_kit import files
from envoy_kit.access_log import AccessLogSink
from envoy_kit.background import Background
from envoy_kit.servers import Server, chat_answer, classifier_answer, status_answer
from pointsman.contract import Header
from pointsman.evaluator.record import AccessRecord, parse
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.plan.types import (
    ArmPlan,
    CapturePlan,
    ClassifierPlan,
    Endpoint,
    GatewayPlan,
    PolicyPlan,
    SecretName,
    StickyPlan,
    TierPlan,
    TritonPlan,
)
from pointsman.xds.translate import SECRET, Options, secret, secret_names, translate
from wait import until_sync

SOLE, SHARED, PINNED, BROKEN, SPLIT = "sole.test", "shared.test", "pinned.test", "broken.test", "split.test"
QUARTER, HALF, ANOTHER = "quarter.test", "half.test", "another.test"
"""A rollout's candidate with 250 and with 500 permille by conversation, and another rollout's with 250."""
DEADLINE_MS = 300
"""Roomy: a test machine is slow, and a slow classifier sleeps much longer."""
BODY_LIMIT = 2 * 1024 * 1024
CLASSIFY_LIMIT = 256 * 1024
QUESTION = {"model": "auto", "messages": [{"role": "user", "content": "What is a pointsman?"}]}


@dataclass
class Rig:
    """Everything around one Envoy."""

    entry: str
    envoy: Envoy
    loop: Background
    cheap: Server
    strong: Server
    triton: Server
    capture: Server
    log: AccessLogSink
    shadow: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    def reset(self) -> None:
        """Forget what was received; everyone answers as usual: scores .9 for cheap, intent `other`."""
        for server in (self.cheap, self.strong, self.triton, self.capture):
            server.reset()

    def ask(
        self,
        body: bytes | Mapping[str, Any] = QUESTION,
        *,
        host: str = SOLE,
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/chat/completions",
    ) -> httpx.Response:
        """Send one request and read its whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"host": host, "content-type": "application/json"} | dict(headers or {})
        return self.client.post(f"http://{self.entry}{path}", content=content, headers=sent)

    def record(self, response: httpx.Response) -> AccessRecord:
        """Return what the access log says of a request, as the evaluator reads it."""
        return self.record_of(response.headers["x-request-id"])

    def record_of(self, request_id: str) -> AccessRecord:
        """Wait for the access log's entry of a request."""

        def found() -> AccessRecord | None:
            records = (parse(entry, "test") for entry in list(self.log.entries))
            return next((one for one in records if one and one.request_id == request_id), None)

        return until_sync(found, 10, what=f"access log entry of {request_id}")

    def counted(self, reason: str) -> int:
        """Return Envoy's own counter of a reason."""
        return self.stat(rf"pointsman\.reason\.{reason}$")

    def stat(self, pattern: str) -> int:
        """Return the sum of Envoy's counters whose names match."""
        query = {"filter": pattern, "format": "json"}
        stats = httpx.get(f"http://{self.envoy.admin_address}/stats", params=query).json()["stats"]
        return sum(int(stat.get("value", 0)) for stat in stats)


LISTENER_PATH, SHORT_PATH = "/api/v1", "/v1"
"""Base paths of the cheap tier: with another than the client's it fails over by listeners only."""


def tier(name: str, server: Server, model: str, path: str) -> TierPlan:
    """Return a tier with a key of its own."""
    endpoint = Endpoint("http", LOCALHOST, server.port, path)
    return TierPlan(name, (endpoint,), model, SecretName("team", "keys", name), 5_000, 20_000, "team")


def gateway(cheap: TierPlan, strong: TierPlan, triton: Server) -> GatewayPlan:
    """Return policies for every kind of host: alone, shared, pinned, and one whose table is broken."""
    tiers = (cheap, strong)
    classifier = ClassifierPlan(
        "pm-0", TritonPlan((triton.address,)), DEADLINE_MS, (("cheap", 640),), (("legal", "strong"),)
    )
    # A threshold for a tier of which the bundle has no score: the script stumbles over it.
    stumbling = ClassifierPlan("pm-0", TritonPlan((triton.address,)), DEADLINE_MS, (), (("other", "cheap"),))
    capture = CapturePlan(1000, 4096)

    def policy(
        name: str, host: str, *arms: ArmPlan, model: str = "auto", sticky: StickyPlan | None = None
    ) -> PolicyPlan:
        return PolicyPlan("team", name, 1, (host,), (model,), arms, (), capture, sticky)

    def canary(name: str, host: str, permille: int, rollout: str) -> PolicyPlan:
        label = f"{rollout}/{permille}"
        candidate = ArmPlan("candidate", permille, tiers, None, "cheap", f"{label}/c")
        incumbent = ArmPlan("incumbent", 1000 - permille, tiers, label=f"{label}/i")
        return policy(name, host, candidate, incumbent, sticky=StickyPlan(rollout))

    return GatewayPlan(
        "default",
        (
            policy("broken", BROKEN, ArmPlan("broken-1", 1000, tiers, stumbling)),
            policy("pinned", PINNED, ArmPlan("pinned-1", 1000, tiers, None, "cheap")),
            policy("shared-a", SHARED, ArmPlan("shared-a-1", 1000, tiers, None, "cheap"), model="a"),
            policy("shared-b", SHARED, ArmPlan("shared-b-1", 1000, tiers), model="b"),
            policy("sole", SOLE, ArmPlan("sole-1", 1000, tiers, classifier)),
            policy(
                "split",
                SPLIT,
                ArmPlan("split-1", 300, tiers, None, "cheap"),
                ArmPlan("split-2", 700, tiers),
                sticky=StickyPlan("", Header.SESSION),
            ),
            canary("quarter", QUARTER, 250, "0a1b2c3d"),
            canary("half", HALF, 500, "0a1b2c3d"),
            canary("another", ANOTHER, 250, "4e5f6071"),
        ),
    )


@contextmanager
def run(folder: Path, path: str = LISTENER_PATH) -> Iterator[Rig]:
    """Start the servers and an Envoy that routes between them; `path` is the cheap tier's base path."""
    cheap, strong = Server(chat_answer("cheap-1")), Server(chat_answer("strong-1"))
    triton, capture = Server(classifier_answer([0.9, 1.0])), Server(status_answer(202, b""))
    log = AccessLogSink()
    servers = (cheap, strong, triton, capture, log)
    with Background() as loop:
        for server in servers:
            loop.run(server.start())
        entry, admin = f"{LOCALHOST}:{free_port()}", f"{LOCALHOST}:{free_port()}"
        tiers = tier("cheap", cheap, "small-1", path), tier("strong", strong, "large-1", LISTENER_PATH)
        plan = gateway(*tiers, triton)
        options = Options(entry_address=entry, body_limit=BODY_LIMIT, classify_limit=CLASSIFY_LIMIT)
        resources = translate(plan, options)
        names = {name for policy in plan.policies for name in secret_names(policy)}
        resources[SECRET] = {name.resource: secret(name, f"key-{name.key}".encode()) for name in names}
        configuration = files.plain(resources)
        _break_table(configuration)
        folder.mkdir(parents=True, exist_ok=True)
        files.write(folder, configuration)
        shadow = f"{LOCALHOST}:{free_port()}"
        bootstrap = files.file_bootstrap(
            folder, admin=admin, access_log=log.address, capture=capture.address, shadow=shadow
        )
        try:
            with Envoy(folder, bootstrap, concurrency=1) as envoy:
                rig = Rig(entry, envoy, loop, cheap, strong, triton, capture, log, shadow)
                with rig.client:
                    yield rig
        finally:
            for server in servers:
                loop.run(server.stop())


def _break_table(value: Any) -> None:
    """Take the list of tiers out of the broken policy's table: its script raises where it needs it."""
    if isinstance(value, dict):
        if value.get("policy") == "team/broken" and "tiers" in value:
            value["tiers"] = "none"
        for item in value.values():
            _break_table(item)
    elif isinstance(value, list):
        for item in value:
            _break_table(item)
