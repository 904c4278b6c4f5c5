"""Bundles on the pod's own disk: fetched once, verified at every reading; then no operator is needed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from typing import TYPE_CHECKING

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.fetching import FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container
    from pathlib import Path

    from pointsman.rollout.observation import Source

log = logging.getLogger(__name__)

_SUFFIX = ".zip"


class BundleCache:
    """A folder of bundles by digest. Lost files are fetched again."""

    def __init__(self, folder: Path, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        """`fetch` returns a bundle by its digest, unverified, or raises `FetchError`."""
        self._folder = folder
        self._fetch = fetch

    async def content(self, source: Source) -> bytes:
        """Return the bundle with the source's digest; `FetchError`."""
        held = await asyncio.to_thread(self._read, source.sha256)
        if held is not None:
            return held
        content = await self._fetch(source.sha256)
        found = await asyncio.to_thread(_digest, content)
        if found != source.sha256:
            words = f"the bundle that came has sha256 {found}, {source.sha256} was asked for"
            raise FetchError(ClassifierReadyReason.DIGEST_MISMATCH, words)
        await asyncio.to_thread(self._write, source.sha256, content)
        return content

    def keep(self, wanted: Container[str]) -> None:
        """Remove the bundles that are wanted no more."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.name.removesuffix(_SUFFIX) not in wanted:
                path.unlink(missing_ok=True)

    def _read(self, sha256: str) -> bytes | None:
        try:
            content = (self._folder / f"{sha256}{_SUFFIX}").read_bytes()
        except OSError:
            return None
        return content if _digest(content) == sha256 else None

    def _write(self, sha256: str, content: bytes) -> None:
        """Store a bundle; where that fails (a full disk), it is fetched again the next time."""
        path = self._folder / f"{sha256}{_SUFFIX}"
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            log.warning("a bundle was not kept: %s", error)
            part.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
