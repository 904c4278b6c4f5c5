"""Kinds of values that several verbs take, checked the same way by all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
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
TLS_DIR: Final = click.Path(exists=True, file_okay=False, path_type=Path)
TLS_DIR_HELP: Final = (
    "Folder of a certificate Secret: tls.crt, tls.key, ca.crt; in place of the three --tls-* files. "
    "Renewed files are taken in."
)


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Our certificate, its key, and the authority of whom we talk to: PEM files, read again when renewed."""

    cert: Path
    key: Path
    ca: Path


def tls_paths(directory: Path) -> TlsPaths:
    """Return the files of a mounted certificate Secret; `UsageError` names the one that is missing."""
    found = TlsPaths(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    for path in (found.cert, found.key, found.ca):
        if not path.is_file():
            raise click.UsageError(
                f"--tls-dir {directory}: {path.name} is not there; a Secret of type kubernetes.io/tls with "
                "ca.crt has tls.crt, tls.key and ca.crt"
            )
    return found
