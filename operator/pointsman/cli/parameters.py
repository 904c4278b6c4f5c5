"""Kinds of values that several verbs take, checked the same way by all of them."""

from __future__ import annotations

import re
from typing import Final

import click

from pointsman.api.v1alpha1.meta import DURATION_PATTERN, seconds


class _Duration(click.ParamType[float]):
    """A duration as in the API, to seconds: `500ms`, `2s`, `720h`."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, str) and not re.match(DURATION_PATTERN, value):
            self.fail(
                f"{value!r} is no duration; write for instance 500ms, 2s, 15m or 720h (30 days)", param, ctx
            )
        return seconds(value) if isinstance(value, str) else value


class _Address(click.ParamType[str]):
    """`host:port`, as it was written."""

    name = "host:port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit():
            self.fail(f"{value!r} is no address; write host:port, for instance 0.0.0.0:9080", param, ctx)
        return value


DURATION: Final = _Duration()
ADDRESS: Final = _Address()
