"""Envoy's scripts as text: each file in `xds/lua`, with the shared pieces that it names put in place."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_INCLUDE = re.compile(r"^-- include (\w+)\.lua$", re.MULTILINE)


@cache
def script(name: str) -> str:
    """Return the source of `dispatch`, `decide` or `rewrite`.

    A line `-- include NAME.lua` becomes that file: Envoy gives each filter a Lua state of its own, so there
    is nothing to `require` at run time.
    """
    return _INCLUDE.sub(lambda match: _read(match[1]).rstrip(), _read(name))


def _read(name: str) -> str:
    return (resources.files("pointsman.xds") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
