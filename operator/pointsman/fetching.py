"""Reading a file that a policy names: configmap://NAME[/KEY], https://…, file:///… (where allowed)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

import httpx

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.kube.errors import KubeError, NotFound
from pointsman.rollout.observation import Source, public_uri

if TYPE_CHECKING:
    import ssl

LIMIT_BYTES: Final = 64 * 1024 * 1024
DEADLINE_S: Final = 60.0
"""For a whole fetch with its retries."""
ATTEMPTS: Final = 3
REDIRECTS: Final = 5
DEFAULT_KEY: Final = "bundle.zip"


class ConfigMaps(Protocol):
    """What is needed of the API server: `kube.client.KubeClient`."""

    async def config_map(self, name: str, namespace: str) -> dict[str, bytes]:
        """Return a ConfigMap's data; `KubeError`."""


class FetchError(Exception):
    """A file could not be had. `reason` and `message` are for the `ClassifierReady` condition."""

    def __init__(self, reason: ClassifierReadyReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class _TransientError(Exception):
    """Worth another attempt at once."""


def _failed(message: str) -> FetchError:
    return FetchError(ClassifierReadyReason.FETCH_FAILED, message)


class Fetcher:
    """Reads files. Trusts no declared size: counts what arrives, and stops at the limit."""

    def __init__(
        self,
        kube: ConfigMaps | None,
        *,
        process: str = "operator",
        default_key: str = DEFAULT_KEY,
        allow_files: bool = False,
        verify: ssl.SSLContext | bool = True,
        limit_bytes: int = LIMIT_BYTES,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`verify`: trust for https, httpx's meaning (True: the system's certificate authorities).

        `kube` None: there is no cluster. `process` is who fetches, for messages. `default_key` is the key of
        a `configmap://NAME` without one.
        """
        self._kube = kube
        self._process = process
        self._key = default_key
        self._allow_files = allow_files
        self._limit = limit_bytes
        self._deadline = deadline_s
        # redirects are followed by hand: each hop's scheme is checked before anything is sent
        headers = {"Accept-Encoding": "identity"}
        self._http = httpx.AsyncClient(
            verify=verify, follow_redirects=False, timeout=httpx.Timeout(10.0), headers=headers
        )

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def __call__(self, source: Source) -> bytes:
        """Return the bytes at `source.uri`, unverified; `FetchError` within the deadline."""
        scheme = urlsplit(source.uri).scheme
        try:
            async with asyncio.timeout(self._deadline):
                match scheme:
                    case "configmap":
                        return await self._config_map(source)
                    case "https":
                        return await self._https(source.uri)
                    case "file":
                        return await asyncio.to_thread(self._file, source.uri)
        except TimeoutError:
            raise _failed(f"{source.uri} did not arrive within {self._deadline:g} s") from None
        raise _failed(f"uri: {scheme}:// is not known; use configmap://, https:// or file://")

    async def _config_map(self, source: Source) -> bytes:
        name, key = config_map_name(source.uri, self._key)
        where = f"ConfigMap {source.namespace}/{name}"
        if self._kube is None:
            raise _failed(f"{where} cannot be read without a cluster; use https:// or file://")
        try:
            data = await self._kube.config_map(name, source.namespace)
        except NotFound:
            words = f"{where} does not exist; create it in the policy's namespace"
            raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, words) from None
        except KubeError as error:
            raise _failed(f"{where} could not be read: {error.reason}") from error
        if key not in data:
            words = f"{where} has no binaryData key {key!r}; it has {', '.join(sorted(data)) or 'none'}"
            raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, words)
        return data[key]

    def _file(self, uri: str) -> bytes:
        if not self._allow_files:
            words = f"{uri}: the {self._process} runs without --allow-file-artifacts; use configmap:// or https://"
            raise FetchError(ClassifierReadyReason.FILE_ARTIFACTS_NOT_ALLOWED, words)
        path = Path(unquote(urlsplit(uri).path))
        try:
            with path.open("rb") as file:
                content = file.read(self._limit + 1)
        except FileNotFoundError:
            words = f"{uri}: no such file on the {self._process}'s machine"
            raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, words) from None
        except OSError as error:
            raise _failed(f"{uri} could not be read: {error.strerror}") from error
        return self._within_limit(uri, content)

    async def _https(self, uri: str) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._download(uri)
            except (_TransientError, httpx.TransportError) as error:
                told = str(error) or type(error).__name__
                if attempt == ATTEMPTS:
                    raise _failed(f"{public_uri(uri)} could not be read: {told}") from error
            await asyncio.sleep(random.uniform(0, 0.5 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    async def _download(self, uri: str) -> bytes:
        url = httpx.URL(uri)
        for _ in range(REDIRECTS + 1):
            if url.scheme != "https":
                raise _failed(
                    f"{public_uri(uri)} redirects to {url.scheme}://, which is not followed; use https://"
                )
            async with self._http.stream("GET", url) as response:
                if response.next_request is not None:
                    url = response.next_request.url
                    continue
                _refuse(uri, response.status_code)
                return await self._body(uri, response)
        raise _failed(f"{public_uri(uri)} redirects more than {REDIRECTS} times")

    async def _body(self, uri: str, response: httpx.Response) -> bytes:
        content = bytearray()
        # raw: a compressed transfer must not unfold beyond the limit; the digest is of the bytes as sent
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self._limit:
                break
        return self._within_limit(public_uri(uri), bytes(content))

    def _within_limit(self, uri: str, content: bytes) -> bytes:
        if len(content) > self._limit:
            raise _failed(f"{uri} is larger than {self._limit} bytes, the limit")
        return content


def config_map_name(uri: str, default_key: str = DEFAULT_KEY) -> tuple[str, str]:
    """Return (name, key) of `configmap://NAME[/KEY]`; the namespace is always the policy's own."""
    parts = urlsplit(uri)
    return parts.netloc, unquote(parts.path.lstrip("/")) or default_key


def _refuse(uri: str, status: int) -> None:
    if status in {404, 410}:
        words = f"{public_uri(uri)} answers {status}: nothing is there"
        raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, words)
    if status == 429 or status >= 500:  # noqa: PLR2004 - HTTP
        raise _TransientError(f"it answers {status}")
    if status != 200:  # noqa: PLR2004 - HTTP
        raise _failed(f"{public_uri(uri)} answers {status}")
