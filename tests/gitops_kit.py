"""Argo CD's Lua, its test files and kstatus' rules, as far as they decide about our kinds.

Argo CD runs scripts in gopher-lua, which is Lua 5.1, and without most of Lua's own library: base, table,
package and a part of os. `run` is that: Lua 5.1 with the rest taken away, one state a run, as there. The test
files are in the format of Argo CD's own tests, so that the folder can lie in its repository as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from lupa.lua51 import LuaRuntime, lua_type

ROOT: Final = Path(__file__).resolve().parents[1]
CUSTOMIZATIONS: Final = ROOT / "gitops" / "argo-cd" / "resource_customizations" / "pointsman.dev"
STATUSES: Final = ("Healthy", "Progressing", "Suspended", "Degraded")
"""What a health script of ours may say; Unknown and Missing are Argo CD's own."""

_SANDBOX: Final = """
string, math, io, debug, coroutine = nil, nil, nil, nil, nil
getmetatable("").__index = nil
os = {time = os.time, date = os.date, difftime = os.difftime, clock = os.clock}
python, package.loadlib = nil, nil
"""


def run(script: Path, obj: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> Any:
    """Run a script on an object as Argo CD does; return what it returns as JSON values."""
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute(_SANDBOX)
    lua.globals().obj = _to_lua(lua, obj)
    if parameters is not None:
        lua.globals().actionParams = _to_lua(lua, parameters)
    return _from_lua(lua.execute(script.read_text("utf-8")))


def health(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return `status` and `message` of an object of ours."""
    found = run(CUSTOMIZATIONS / obj["kind"] / "health.lua", obj)
    assert isinstance(found, dict)
    return found


def discover(obj: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the actions of an object by name."""
    found = run(CUSTOMIZATIONS / obj["kind"] / "actions" / "discovery.lua", obj)
    assert isinstance(found, dict)
    return found


def enabled(obj: Mapping[str, Any]) -> set[str]:
    """Return the names of the actions that may be run now."""
    return {name for name, action in discover(obj).items() if not action.get("disabled")}


def act(obj: Mapping[str, Any], action: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run an action; return the one object that it creates."""
    script = CUSTOMIZATIONS / obj["kind"] / "actions" / action / "action.lua"
    (made,) = run(script, obj, {} if parameters is None else parameters)
    assert made["operation"] == "create"
    created = made["resource"]
    assert isinstance(created, dict)
    return created


def _to_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return lua.table_from({key: _to_lua(lua, item) for key, item in value.items() if item is not None})
    if isinstance(value, list | tuple):
        return lua.table_from([_to_lua(lua, item) for item in value])
    return value


def _from_lua(value: Any) -> Any:
    """Return a Lua value as gopher-json writes it: an empty table is a list."""
    if lua_type(value) != "table":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    items = {key: _from_lua(item) for key, item in value.items()}
    if set(items) == set(range(1, len(items) + 1)):
        return [items[key] for key in sorted(items)]
    return items


# -- the test files, in Argo CD's own format -----------------------------------------------------------------


def load(path: Path) -> dict[str, Any]:
    """Read one object; timestamps stay text, as in Go."""
    found = json.loads(json.dumps(yaml.load(path.read_text("utf-8"), Loader=_Plain)))  # noqa: S506 - a SafeLoader
    assert isinstance(found, dict)
    return found


class _Plain(yaml.CSafeLoader):
    """YAML without dates."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def health_tests() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each object of the health tests and what its health shall be."""
    for path in sorted(CUSTOMIZATIONS.glob("*/health_test.yaml")):
        for test in load(path)["tests"]:
            yield path.parent / test["inputPath"], test["healthStatus"]


def discovery_tests() -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield each object of the discovery tests and what actions it shall have."""
    for path in sorted(CUSTOMIZATIONS.glob("*/actions/action_test.yaml")):
        for test in load(path)["discoveryTests"]:
            yield path.parent / test["inputPath"], test["result"]


def action_tests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each object of the action tests and the test."""
    for path in sorted(CUSTOMIZATIONS.glob("*/actions/action_test.yaml")):
        for test in load(path)["actionTests"]:
            yield path.parent / test["inputPath"], test


# -- kstatus -------------------------------------------------------------------------------------------------

Kstatus = Literal["Terminating", "InProgress", "Failed", "Current"]


def kstatus(obj: Mapping[str, Any]) -> Kstatus:
    """Return what kstatus, and so Flux and Helm 4, make of an object of a kind that they know no rules of.

    In their order: deletion, generation, Reconciling and Stalled, Ready; with none of these it is Current.
    """
    metadata, status = obj["metadata"], obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and "generation" in metadata and observed != metadata["generation"]:
        return "InProgress"
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if conditions.get("Ready") in {"False", "Unknown"} else "Current"
