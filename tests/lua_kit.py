"""A test double of Envoy's Lua API: one filter's Lua state, and streams that its script is run on.

It stands for what the Lua filter of a real Envoy does around a script, as that was tried on Envoy:
`body()`, a waiting `httpCall`, `respond()` and each step of `bodyChunks()` yield, and every object that was
taken from the handle before a yield raises when it is used after it; a key that a map does not have gives
no value at all, not nil; a call to a cluster that Envoy does not know raises, a call that fails does not;
headers cannot be changed once an answer has begun to pass. The scripts run in LuaJIT, as in Envoy, and as
the one chunk that Envoy loads. It cannot show that Envoy behaves like this: tests/integration/envoy runs
the same scripts in the real one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lupa.luajit21 import LuaRuntime, lua_type

from pointsman.contract import METADATA_NAMESPACE
from pointsman.xds.translate.scripts import script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NOW_US: Final = 1_760_000_000_000_000
"""What the double's clock says first, in microseconds; each look at it takes `TICK_US`."""
TICK_US: Final = 100

_DOUBLE: Final = r"""
EnvoyTimestampResolution = { MILLISECOND = "millisecond", MICROSECOND = "microsecond" }

-- Runs `entry` on a stream. `given` is the stream as it arrives; what the script did is written into it.
function run_on_stream(entry, given)
  local generation, streaming, body_seen = 0, false, false
  local handle = {}

  -- An object of Envoy's: its methods raise after the next yield.
  local function mortal(methods)
    local born = generation
    return setmetatable({}, { __index = function(_, name)
      local method = methods[name]
      return method and function(_, ...)
        if born ~= generation then
          error("object used outside of proper scope", 0)
        end
        return method(...)
      end
    end })
  end
  local function yield(...)
    generation = generation + 1
    return coroutine.yield(...)
  end

  local function headers_of(map, is_frozen)
    local function change(name, value)
      if is_frozen() then
        error("header map can no longer be modified", 0)
      end
      map[name] = value
    end
    return mortal({
      get = function(name)
        if map[name] ~= nil then
          return map[name]
        end
      end,
      replace = function(name, value)
        assert(type(value) == "string", "a header's value is a string")
        change(name, value)
      end,
      remove = function(name) change(name, nil) end,
    })
  end

  local function buffer(bytes, set)
    return mortal({
      length = function() return #bytes end,
      getBytes = function(index, length)
        if index < 0 or length < 0 or index + length > #bytes then
          error("index/length must be >= 0 and (index + length) must be <= buffer size", 0)
        end
        return string.sub(bytes, index + 1, index + length)
      end,
      setBytes = function(text)
        assert(type(text) == "string" and set, "this body can be set, to a string")
        set(text)
      end,
    })
  end

  function handle:headers()
    return headers_of(given.headers, function() return streaming end)
  end
  function handle:requestHeaders()
    return headers_of(given.request_headers, function() return true end)
  end
  function handle:body()
    if given.body == nil then
      return nil
    elseif not body_seen then
      body_seen = true
      yield("body")
    end
    return buffer(given.body, function(text)
      given.body = text
      given.headers["content-length"] = tostring(#text)
    end)
  end
  function handle:bodyChunks()
    local next_chunk = 0
    return function()
      streaming, next_chunk = true, next_chunk + 1
      yield("chunk")
      return given.chunks[next_chunk] and buffer(given.chunks[next_chunk])
    end
  end
  function handle:filterContext()
    if given.context == nil then
      return nil
    end
    return mortal({
      get = function(key)
        if given.context[key] ~= nil then
          return given.context[key]
        end
      end,
    })
  end
  function handle:streamInfo()
    return mortal({
      dynamicMetadata = function()
        return mortal({
          get = function(namespace) return given.metadata[namespace] end,
          set = function(namespace, key, value)
            assert(type(value) == "string" or type(value) == "number", "metadata is text or a number")
            given.metadata[namespace] = given.metadata[namespace] or {}
            given.metadata[namespace][key] = value
          end,
        })
      end,
    })
  end
  function handle:httpCall(cluster, headers, body, options)
    local answer = given.clusters[cluster]
    if answer == nil then
      error("http call cluster invalid. Must be configured", 0)
    end
    for _, name in ipairs({ ":method", ":path", ":authority" }) do
      assert(headers[name], "http call headers must include :path, :method and :authority")
    end
    for name, value in pairs(headers) do
      assert(type(value) == "string", "a header's value is a string: " .. name)
    end
    given.calls[#given.calls + 1] = { cluster = cluster, headers = headers, body = body, options = options }
    if not options.asynchronous then
      yield("call")
      return answer.headers, answer.body
    end
  end
  function handle:respond(headers, body)
    if streaming then
      error("respond() cannot be called if headers have been continued", 0)
    end
    given.response = { headers = headers, body = body }
    yield("respond")
  end
  function handle:clearRouteCache()
    given.cleared = given.cleared + 1
  end
  function handle:timestampString(resolution)
    assert(resolution == EnvoyTimestampResolution.MICROSECOND)
    given.now = given.now + given.tick
    return string.format("%.0f", given.now - given.tick)
  end
  function handle:logErr(text)
    given.logs[#given.logs + 1] = text
  end
  if given.has_stats then
    function handle:stats()
      return mortal({
        counter = function(name)
          return mortal({ inc = function() given.counters[name] = (given.counters[name] or 0) + 1 end })
        end,
      })
    end
  end

  local thread = coroutine.create(_G[entry])
  local fine, what = coroutine.resume(thread, handle)
  while fine and coroutine.status(thread) == "suspended" and what ~= "respond" do
    fine, what = coroutine.resume(thread)
  end
  given.problem = not fine and tostring(what) or nil
end
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call that a script made."""

    cluster: str
    headers: Mapping[str, str]
    body: bytes
    asynchronous: bool
    timeout_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a script did to a stream."""

    headers: Mapping[str, str]
    body: bytes | None
    metadata: Mapping[str, Any]
    """Our own namespace's."""
    calls: Sequence[Call]
    counters: Mapping[str, int]
    logs: Sequence[str]
    route_cleared: int
    status: str | None
    """Of the script's own answer, if it gave one."""
    answer: bytes
    answer_headers: Mapping[str, str]
    problem: str | None
    """An error that the script let through to Envoy."""

    def record(self, key: str) -> Any:
        """Return one of the metadata's records, which are JSON as text."""
        return json.loads(self.metadata[key])


@dataclass(slots=True)
class Worker:
    """A worker's Lua state of one filter: scripts keep what they remember from one stream to the next."""

    name: str
    lua: LuaRuntime = field(init=False)

    def __post_init__(self) -> None:
        self.lua = runtime()
        self.lua.execute(_DOUBLE)
        self.lua.execute(script(self.name))

    def on_request(
        self,
        body: bytes | None,
        context: Mapping[str, Any] | None,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        clusters: Mapping[str, tuple[Mapping[str, str], bytes | None]] | None = None,
        has_stats: bool = True,
    ) -> Outcome:
        """Run `envoy_on_request`; `clusters` are those that Envoy knows, with what each answers."""
        known = {name: {"headers": said, "body": text} for name, (said, text) in (clusters or {}).items()}
        usual = {":method": "POST", ":path": "/v1/chat/completions", "x-request-id": REQUEST_ID}
        return self._run(
            "envoy_on_request",
            {
                "headers": usual | dict(headers or {}),
                "body": body,
                "context": context,
                "metadata": {METADATA_NAMESPACE: dict(metadata)} if metadata else {},
                "clusters": known,
                "has_stats": has_stats,
            },
        )

    def on_response(
        self,
        chunks: Sequence[bytes],
        metadata: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        clusters: Sequence[str] = (),
    ) -> Outcome:
        """Run `envoy_on_response` on an answer that passes in `chunks`."""
        usual = {":status": "200", "content-type": "application/json"}
        return self._run(
            "envoy_on_response",
            {
                "headers": usual | dict(headers or {}),
                "request_headers": {"x-request-id": REQUEST_ID},
                "chunks": list(chunks),
                "metadata": {METADATA_NAMESPACE: dict(metadata)} if metadata else {},
                "clusters": {name: {} for name in clusters},
                "has_stats": True,
            },
        )

    def _run(self, entry: str, given: dict[str, Any]) -> Outcome:
        made: dict[str, Any] = {"now": NOW_US, "tick": TICK_US, "cleared": 0}
        made |= {"calls": {}, "counters": {}, "logs": {}}
        stream = to_lua(self.lua, given | made)
        self.lua.globals()[b"run_on_stream"](entry.encode(), stream)
        return _outcome(stream)


REQUEST_ID: Final = "00003e70-0000-4000-8000-000000000000"
"""Its first seven digits are 999 mod 1000: out of every sample but the whole."""


def runtime() -> LuaRuntime:
    """Return a LuaJIT of its own, in which every string is bytes."""
    return LuaRuntime(encoding=None)


def functions(name: str, *locals_: str, lua: LuaRuntime | None = None) -> tuple[Callable[..., Any], ...]:
    """Return local functions (or values) of a script, loaded as the one chunk that Envoy loads."""
    lua = lua or runtime()
    lua.execute(_DOUBLE)
    found = lua.execute(f"{script(name)}\nreturn {{ {', '.join(locals_)} }}")
    return tuple(found[i] for i in range(1, len(locals_) + 1))


def to_lua(lua: LuaRuntime, value: Any) -> Any:
    """Return a value as Envoy would hand it to Lua: the numbers of its tables are doubles."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return lua.table_from({to_lua(lua, key): to_lua(lua, each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return lua.table_from([to_lua(lua, each) for each in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def plain(value: Any) -> Any:
    """Return a Lua value as Python's: tables become dicts, bytes text (stray bytes escaped)."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if lua_type(value) == "table":
        return {plain(key): plain(each) for key, each in value.items()}
    return value


def _outcome(stream: Any) -> Outcome:
    response = stream[b"response"]
    calls = [stream[b"calls"][i + 1] for i in range(len(stream[b"calls"]))]
    return Outcome(
        headers=plain(stream[b"headers"]),
        body=stream[b"body"],
        metadata=plain(stream[b"metadata"]).get(METADATA_NAMESPACE, {}),
        calls=[
            Call(
                cluster=plain(call[b"cluster"]),
                headers=plain(call[b"headers"]),
                body=call[b"body"],
                asynchronous=bool(call[b"options"][b"asynchronous"]),
                timeout_ms=call[b"options"][b"timeout_ms"],
            )
            for call in calls
        ],
        counters={name: int(count) for name, count in plain(stream[b"counters"]).items()},
        logs=list(plain(stream[b"logs"]).values()),
        route_cleared=int(stream[b"cleared"]),
        status=plain(response[b"headers"])[":status"] if response else None,
        answer=response[b"body"] if response else b"",
        answer_headers=plain(response[b"headers"]) if response else {},
        problem=plain(stream[b"problem"]) if stream[b"problem"] else None,
    )
