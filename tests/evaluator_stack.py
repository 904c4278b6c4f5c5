"""A real Envoy before an upstream, and the evaluator as a process behind its access log and captures."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from evaluator_builders import policy_object
from pointsman.evaluator.tls import TLSFiles
from pointsman.lab.checks import http_ok
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import Server, Spec, free_port
from wait import until

TYPES = "type.googleapis.com/envoy.extensions."
CAPTURE: dict[str, Any] = {"samplePermille": 1000, "redact": ["Email"]}

LUA = """
-- What the real scripts write, reduced: the tier and the reason from the test's own headers, captures of all.
local function capture(handle, half, id, tier, bytes, kind)
  handle:httpCall("pointsman-capture", {
    [":method"] = "POST", [":path"] = "/v1/capture/" .. half, [":authority"] = "evaluator",
    ["x-request-id"] = id, ["x-pointsman-policy"] = "chat/support", ["x-pointsman-revision"] = "support-1",
    ["x-pointsman-tier"] = tier, ["x-pointsman-truncated"] = "0", ["content-type"] = kind,
    ["x-pointsman-status"] = "200",
  }, bytes, {asynchronous = true, timeout_ms = 5000})
end
function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  if headers:get("x-broken") then error("a script error") end
  local id, tier = headers:get("x-request-id"), headers:get("x-tier") or "cheap"
  metadata:set("pointsman", "policy", "chat/support")
  metadata:set("pointsman", "revision", "support-1")
  metadata:set("pointsman", "tier", tier)
  metadata:set("pointsman", "served_tier", headers:get("x-served") or tier)
  metadata:set("pointsman", "reason", headers:get("x-reason") or "score")
  metadata:set("pointsman", "decision_us", 1500)
  metadata:set("pointsman", "id", id)
  metadata:set("pointsman", "captured", 1)
  metadata:set("pointsman", "rollout", headers:get("x-rollout") or "")
  local body = handle:body()
  capture(handle, "request", id, tier, body and body:getBytes(0, body:length()) or "", "application/json")
end
function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("pointsman", "prompt_tokens", 100)
  metadata:set("pointsman", "completion_tokens", 20)
  local known = metadata:get("pointsman")
  local kept, kind = {}, handle:headers():get("content-type") or ""
  for chunk in handle:bodyChunks() do
    kept[#kept + 1] = chunk:getBytes(0, chunk:length())
  end
  if known and known.id then
    capture(handle, "response", known.id, known.tier, table.concat(kept), kind)
  end
end
"""


async def answer(request: web.Request) -> web.StreamResponse:
    """Behave as the path says: /500, /hang, /stream, /cut, or a good answer."""
    await request.read()
    what = request.path.rpartition("/")[2]
    if what == "500":
        return web.json_response({"error": {}}, status=500)
    if what == "hang":
        await asyncio.sleep(60)
    if what in ("stream", "slow", "cut"):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number, piece in enumerate(("write to ja", "ne@mail", ".exam", "ple")):
            delta = {"choices": [{"index": 0, "delta": {"content": piece}}]}
            await response.write(f"data: {json.dumps(delta)}\n\n".encode())
            await asyncio.sleep(60 if what == "slow" and number else 0.01)
            if what == "cut" and number:
                assert request.transport is not None
                request.transport.abort()
                break
        return response
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": "Hello."}}]})


def upstream() -> TestServer:
    """Return a server that gives `answer` to everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return TestServer(app, shutdown_timeout=0.1)


@dataclass
class EvaluatorStack:
    """Addresses and processes; an async context manager. `tls`: of the evaluator, `client_tls`: of Envoy.

    With `url`, a PostgreSQL database, there are two evaluators: the log goes to one, captures to the other.
    """

    folder: Path
    tls: TLSFiles | None = None
    client_tls: dict[str, Any] | None = None
    tier: TestServer = field(default_factory=upstream)
    policy: dict[str, Any] = field(default_factory=lambda: policy_object(capture_spec=CAPTURE))
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the evaluator, in place of what is set here."""
    admin_ip: str = "127.0.0.1"
    """What Envoy's admin binds."""
    url: str = ""
    second_url: str = ""
    """By which way the second evaluator reaches the same database; "": by the same."""
    terms: tuple[float, float, float] | None = None
    volume: Path | None = None
    """Where the store lies; None: in the folder."""

    def __post_init__(self) -> None:
        names = ("als", "capture", "http", "entry", "admin", "als2", "capture2", "http2")
        self.ports = {name: free_port() for name in names}
        self.store = (self.volume or self.folder) / "requests.sqlite"
        self.evaluator = self._evaluator("")
        self.second = self._evaluator("2") if self.url else None
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.ports['entry']}", trust_env=False)
        self.own = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.ports['http']}", trust_env=False)
        self.others = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.ports['http2']}", trust_env=False)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.tier)
        await self._stack.enter_async_context(self.client)
        await self._stack.enter_async_context(self.own)
        await self._stack.enter_async_context(self.others)
        await self._stack.enter_async_context(self.evaluator)
        if self.second is not None:
            await self._stack.enter_async_context(self.second)
        self.envoy = Envoy(self.folder, self._bootstrap(), concurrency=1)
        await self._stack.enter_async_context(self.envoy)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def post(self, path: str, **headers: str) -> int:
        """Send one request; return its status, 0 if there was no whole answer."""
        try:
            answered = await self.client.post(path, content=b'{"model":"auto"}', headers=headers, timeout=5)
        except httpx.HTTPError:
            return 0
        return answered.status_code

    async def summary(self) -> dict[str, Any]:
        """Return the policy's summary."""
        found: dict[str, Any] = (await self.own.get("/v1/summary", params={"policy": "chat/support"})).json()
        return found

    async def requests(self, number: int) -> dict[str, Any]:
        """Return the summary once it has `number` requests."""

        async def enough() -> dict[str, Any] | None:
            found = await self.summary()
            return found if found["requests"] >= number else None

        return await until(enough, 10, 0.1) or {}

    async def metric(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return a metric's samples by their labels, summed over evaluators that are there."""
        sums: dict[tuple[tuple[str, str], ...], float] = {}
        for client in (self.own, *((self.others,) if self.second else ())):
            try:
                text = (await client.get("/metrics")).text
            except httpx.HTTPError:
                continue
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name == name:
                        labels = tuple(sorted(sample.labels.items()))
                        sums[labels] = sums.get(labels, 0) + sample.value
        return sums

    def _evaluator(self, number: str) -> Server:
        settings: dict[str, Any] = {
            "access_log_address": f"127.0.0.1:{self.ports['als' + number]}",
            "capture_address": f"127.0.0.1:{self.ports['capture' + number]}",
            "http_address": f"127.0.0.1:{self.ports['http' + number]}",
            "store": (number and self.second_url) or self.url or str(self.store),
            "replica": f"evaluator{number}" if self.url else "",
            "terms": self.terms,
            "envoy_admin": [f"http://127.0.0.1:{self.ports['admin']}"],
            "poll_s": 0.3,
            "grace_s": 3.0,
            "policies": [self.policy],
        }
        if self.tls is not None:
            settings["tls"] = [str(self.tls.cert), str(self.tls.key), str(self.tls.client_ca)]
        file = self.folder / f"evaluator{number}.json"
        file.write_text(json.dumps(settings | self.settings))
        script = Path(__file__).with_name("evaluator_process.py")
        address = settings["http_address"]
        return Server(
            Spec(
                f"evaluator{number}",
                [sys.executable, str(script), str(file)],
                self.folder / f"evaluator{number}.log",
                address,
                lambda: http_ok(address, "/readyz"),
                start_deadline_s=150,  # on a busy machine
            )
        )

    def _bootstrap(self) -> dict[str, Any]:
        route = {"cluster": "tier", "timeout": "0.8s"}
        routes = [
            {"match": {"path": "/none"}, "direct_response": {"status": 404}},
            {"match": {"prefix": "/"}, "route": route},
        ]
        filters = [
            _filter(
                "envoy.filters.http.lua",
                "filters.http.lua.v3.Lua",
                default_source_code={"inline_string": LUA},
            ),
            _filter("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ]
        manager = _filter(
            "manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="entry",
            use_remote_address=True,
            access_log=[_access_log()],
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            http_filters=filters,
        )
        clusters = [
            _cluster("tier", self.tier.port or 0),
            _cluster("pointsman-access-log", self.ports["als"], http2=True, tls=self.client_tls),
            _cluster(
                "pointsman-capture", self.ports["capture2" if self.url else "capture"], tls=self.client_tls
            ),
        ]
        listener = {
            "name": "entry",
            "address": _address(self.ports["entry"]),
            "filter_chains": [{"filters": [manager]}],
        }
        return {
            "node": {"id": f"envoy-{self.ports['entry']}", "cluster": "default"},
            "admin": {"address": _address(self.ports["admin"], self.admin_ip)},
            "static_resources": {"listeners": [listener], "clusters": clusters},
        }


def _address(port: int, ip: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": TYPES + kind} | config}


def _access_log() -> dict[str, Any]:
    common = {
        "log_name": "pointsman",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "pointsman-access-log"}},
        "buffer_flush_interval": "0.2s",
        "buffer_size_bytes": 8 << 20,
    }
    return _filter(
        "envoy.access_loggers.http_grpc",
        "access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config=common,
        additional_request_headers_to_log=["x-session-id"],
    )


def _cluster(
    name: str, port: int, *, http2: bool = False, tls: dict[str, Any] | None = None
) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        kind = "upstreams.http.v3.HttpProtocolOptions"
        options: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        cluster["typed_extension_protocol_options"] = {
            f"envoy.extensions.{kind}": {"@type": TYPES + kind} | options
        }
    if tls is not None:
        cluster["transport_socket"] = _filter(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni="localhost",
            common_tls_context=tls,
        )
    return cluster
