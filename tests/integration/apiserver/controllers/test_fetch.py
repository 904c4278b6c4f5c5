"""Fetching bundles: real ConfigMaps, a real TLS server, files."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from operator_kit import Cluster, bundle, sha256
from pointsman.api.conditions import ClassifierReadyReason as Reason
from pointsman.controllers.artifacts import MEMORY_BYTES, ArtifactMetrics, Artifacts
from pointsman.fetching import Fetcher, FetchError
from pointsman.lab.pki import Authority
from pointsman.lab.process import free_port
from pointsman.rollout.observation import Bundle, Source
from pointsman.triton import bundle as bundles
from wait import until

pytestmark = pytest.mark.apiserver


@dataclass
class Site:
    """An HTTPS server with a certificate of its own authority."""

    url: str
    trust: ssl.SSLContext
    asked: list[str]


Answer = Callable[[web.Request, list[str]], Awaitable[web.StreamResponse]]


def moved(location: str) -> Answer:
    async def answer(_request: web.Request, _asked: list[str]) -> web.StreamResponse:
        raise web.HTTPFound(location)

    return answer


async def missing(_request: web.Request, _asked: list[str]) -> web.StreamResponse:
    return web.Response(status=404)


async def content(_request: web.Request, _asked: list[str]) -> web.StreamResponse:
    return web.Response(body=bundle())


async def flaky(_request: web.Request, asked: list[str]) -> web.StreamResponse:
    return web.Response(status=503) if len(asked) < 2 else web.Response(body=b"at last")


async def slow(_request: web.Request, _asked: list[str]) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def endless(request: web.Request, _asked: list[str]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


ANSWERS: dict[str, Answer] = {
    "/bundle.zip": content,
    "/moved": moved("/bundle.zip"),
    "/plain": moved("http://127.0.0.1:9/bundle.zip"),
    "/file": moved("file:///etc/hostname"),
    "/loop": moved("/loop"),
    "/flaky": flaky,
    "/slow": slow,
    "/endless": endless,
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Serve a bundle, and what else may happen on the web."""
    authority = Authority(tmp_path / "pki")
    pair = authority.leaf("site", "site", hosts=["127.0.0.1"])
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(pair.cert, pair.key)
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        return await ANSWERS.get(request.path, missing)(request, asked)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=serving).start()
    trust = ssl.create_default_context(cafile=str(authority.pair.cert))
    yield Site(f"https://127.0.0.1:{port}", trust, asked)
    await runner.cleanup()


async def fetched(cluster: Cluster, uri: str, **settings: object) -> bytes:
    fetcher = Fetcher(cluster.admin, **settings)  # type: ignore[arg-type] # each test names its own
    try:
        return await fetcher(Source(cluster.namespace, uri, "0" * 64))
    finally:
        await fetcher.close()


async def test_https(cluster: Cluster, site: Site) -> None:
    """A bundle is read, over a redirect that stays with https, too."""
    assert await fetched(cluster, f"{site.url}/bundle.zip", verify=site.trust) == bundle()
    assert await fetched(cluster, f"{site.url}/moved", verify=site.trust) == bundle()


async def test_a_server_that_falters_is_asked_again(cluster: Cluster, site: Site) -> None:
    """5xx is tried again within one fetch."""
    assert await fetched(cluster, f"{site.url}/flaky", verify=site.trust) == b"at last"


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        ("/missing?token=secret", Reason.BUNDLE_NOT_FOUND, "answers 404"),
        ("/plain", Reason.FETCH_FAILED, "redirects to http://"),
        ("/file", Reason.FETCH_FAILED, "redirects to file://"),
        ("/loop", Reason.FETCH_FAILED, "more than 5 times"),
        ("/endless", Reason.FETCH_FAILED, "larger than 100000 bytes"),
        ("/slow", Reason.FETCH_FAILED, "did not arrive within 0.5 s"),
    ],
)
async def test_what_https_must_not_do(
    cluster: Cluster, site: Site, path: str, reason: Reason, words: str
) -> None:
    """No other scheme, no endless body or wait; a signed URL's secret is in no message."""
    with pytest.raises(FetchError, match=words) as failure:
        await fetched(cluster, site.url + path, verify=site.trust, limit_bytes=100_000, deadline_s=0.5)
    assert failure.value.reason == reason
    assert "secret" not in str(failure.value)


async def test_an_unknown_authority_is_not_trusted(cluster: Cluster, site: Site) -> None:
    """Without its certificate authority the server is refused."""
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetched(cluster, f"{site.url}/bundle.zip")
    assert site.asked == []


async def test_files(cluster: Cluster, tmp_path: Path) -> None:
    """file:// only where it is allowed, and within the limit."""
    path = tmp_path / "a bundle.zip"
    path.write_bytes(b"content")
    uri = f"file://{path}".replace(" ", "%20")
    assert await fetched(cluster, uri, allow_files=True) == b"content"
    for settings, words in (
        ({}, "--allow-file-artifacts"),
        ({"allow_files": True, "limit_bytes": 3}, "larger than 3 bytes"),
    ):
        with pytest.raises(FetchError, match=words):
            await fetched(cluster, uri, **settings)
    with pytest.raises(FetchError, match="no such file"):
        await fetched(cluster, "file:///nowhere/bundle.zip", allow_files=True)


async def test_a_config_map_of_another_namespace_is_out_of_reach(cluster: Cluster) -> None:
    """The name is looked up in the policy's own namespace, whatever it looks like."""
    await cluster.config_map("bundle", b"content", key="other.zip")
    assert await fetched(cluster, "configmap://bundle/other.zip") == b"content"
    for uri in ("configmap://kube-system/bundle", "configmap://..%2Fkube-system/x", "configmap://missing"):
        with pytest.raises(FetchError) as failure:
            await fetched(cluster, uri)
        assert failure.value.reason in {Reason.BUNDLE_NOT_FOUND, Reason.FETCH_FAILED}


def artifacts(cluster: Cluster, changed: list[Source], memory_bytes: int = MEMORY_BYTES) -> Artifacts:
    def describe(content: bytes) -> Bundle:
        found = bundles.check(content)
        return Bundle(found.tiers, found.intents)

    metrics = ArtifactMetrics(CollectorRegistry())
    fetcher = Fetcher(cluster.admin)
    return Artifacts(fetcher, describe, changed.append, metrics, memory_bytes=memory_bytes)


async def test_a_bundle_comes_by_itself_once_it_is_there(cluster: Cluster) -> None:
    """A failure is told until a later attempt succeeds; attempts back off."""
    content, changed = bundle(), list[Source]()
    source = Source(cluster.namespace, "configmap://bundle", sha256(content))
    found = artifacts(cluster, changed)
    assert found.look(source).failure is None
    found.request(source)
    await until(lambda: found.look(source).failure)
    failure = found.look(source).failure
    assert failure is not None
    assert failure[0] == Reason.BUNDLE_NOT_FOUND
    assert (found.look(source).retry_after_s or 0) > 0.5
    await cluster.config_map("bundle", content)

    def there() -> bool:
        found.request(source)
        return found.look(source).bundle is not None

    await until(there)
    assert found.look(source).failure is None
    assert await found.content(source) == content
    assert changed[-1] == source
    await found.close()


async def test_memory_is_bounded_and_namespaces_do_not_share(cluster: Cluster) -> None:
    """The least recent bundle goes first and is fetched again; one's bundle is not handed to another."""
    old, new = bundle(mark="first"), bundle(mark="second")
    await cluster.config_map("old", old)
    await cluster.config_map("new", new)
    found = artifacts(cluster, [], memory_bytes=len(old) + 10)
    first = Source(cluster.namespace, "configmap://old", sha256(old))
    assert await found.content(first) == old
    assert await found.content(Source(cluster.namespace, "configmap://new", sha256(new))) == new
    await cluster.config_map("old", b"changed since")
    with pytest.raises(FetchError, match=r"artifact\.sha256"):
        await found.content(first)
    with pytest.raises(FetchError, match="does not exist"):
        await found.content(Source("default", "configmap://new", sha256(new)))
    await found.close()
