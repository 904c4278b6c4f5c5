"""The bundle service: by mutual TLS, from what the API server holds, leading or standing by."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
from prometheus_client import CollectorRegistry

from agent_kit import leaf, model
from operator_kit import Cluster, bundle, eventually, sha256
from pointsman import install
from pointsman.agent.operator_door import DoorMetrics, OperatorDoor
from pointsman.clock import system_clock
from pointsman.controllers.operator import Settings, run
from pointsman.fetching import FetchError
from pointsman.kube.lease import Terms
from pointsman.kube.resources import CONFIG_MAPS, LEASES
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.pools.models import KEY, Model, ModelList, dump
from pointsman.rollout.observation import Source
from pointsman.tls_files import TLSFiles
from pool_kit import infrastructure

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(120)]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make an authority."""
    return Authority(tmp_path / "pki")


async def publish(cluster: Cluster, pool: str, models: ModelList) -> None:
    """Write a pool's list, as the leader does."""
    labels = {install.LABEL_COMPONENT: "triton", install.LABEL_POOL: pool}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": install.pool_models(pool), "namespace": cluster.namespace, "labels": labels},
        "data": {KEY: dump(models)},
    }
    await cluster.admin.apply(CONFIG_MAPS, body)


def entry(cluster: Cluster, content: bytes) -> Model:
    """Return a list's entry of a bundle that lies in the namespace."""
    digest = sha256(content)
    return Model(digest, (Source(cluster.namespace, "configmap://bundle", digest),), traffic=True)


@asynccontextmanager
async def standby(cluster: Cluster, authority: Authority, folder: Path) -> AsyncIterator[str]:
    """Run an operator while another one leads; its certificate comes after it. Yields its bundle service."""
    now = system_clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {
        "metadata": {"name": "held"},
        "spec": {"holderIdentity": "another", "leaseDurationSeconds": 600, "renewTime": now},
    }
    await cluster.admin.create(LEASES, lease, cluster.namespace)
    address = f"{LOCALHOST}:{free_port()}"
    files = TLSFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
    settings = Settings(
        lease=Terms.of(cluster.namespace, "held", "standby", 600),
        kubeconfig=cluster.operator_kubeconfig,
        namespaces=(cluster.namespace,),
        bundles_address=address,
        tls=files,
        **infrastructure(cluster.namespace),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop), name="standby")
    made = leaf(authority, install.OPERATOR)
    for there, wanted in zip((made.cert, made.key, made.client_ca), _paths(files), strict=True):
        await asyncio.to_thread(wanted.write_bytes, await asyncio.to_thread(there.read_bytes))
    try:
        yield f"https://{address}"
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


def door(url: str, tls: TLSFiles) -> OperatorDoor:
    return OperatorDoor(url, tls, DoorMetrics(CollectorRegistry()))


async def test_a_standby_serves_what_the_pools_lists_name(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """List and bundle from an operator that does not lead; a long poll hears of a change at once."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    await publish(cluster, "default", ModelList((), 1))
    async with standby(cluster, authority, tmp_path) as url:
        mine = door(url, leaf(authority, install.pool_name("default")))
        try:

            async def first() -> ModelList | None:
                try:
                    return await mine.models("default", "", 0)
                except Exception:  # noqa: BLE001 - it is not there yet
                    return None

            empty = await eventually(first, "the service answers")
            assert await mine.models("default", empty.version, 1) is None
            waiting = asyncio.create_task(mine.models("default", empty.version, 20))
            since = time.monotonic()
            wanted = ModelList((entry(cluster, content),), 2)
            await publish(cluster, "default", wanted)
            assert await waiting == wanted
            assert time.monotonic() - since < 5
            assert await mine.bundle(sha256(content)) == content
        finally:
            await mine.close()


async def test_strangers_other_pools_and_other_digests_get_nothing(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    """No certificate: not spoken to. Another pool's: refused. A digest that no list of theirs names: 404."""
    content, other = bundle(mark="mine"), bundle(mark="other")
    await cluster.config_map("bundle", content)
    await publish(cluster, "default", ModelList((entry(cluster, content),), 1))
    await publish(cluster, "gpu", ModelList((model(other),), 1))
    async with standby(cluster, authority, tmp_path) as url:
        mine = door(url, leaf(authority, install.pool_name("default")))
        theirs = door(url, leaf(authority, install.pool_name("gpu")))
        try:

            async def there() -> bool:
                try:
                    return bool(await mine.models("default", "", 0))
                except Exception:  # noqa: BLE001 - it is not there yet
                    return False

            await eventually(there, "the service answers")
            with pytest.raises(Exception, match="403"):
                await theirs.models("default", "", 0)
            for unlisted in (sha256(content), "0" * 64):
                with pytest.raises(FetchError) as refused:
                    await theirs.bundle(unlisted)
                assert refused.value.reason == "BundleNotFound"
        finally:
            await mine.close()
            await theirs.close()
        trust = ssl.create_default_context(cafile=str(authority.pair.cert))
        async with httpx.AsyncClient(verify=trust) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"{url}/v1/pools/default")
        foreign = leaf(Authority(tmp_path / "foreign"), install.pool_name("default"))
        context = ssl.create_default_context(cafile=str(authority.pair.cert))
        context.load_cert_chain(foreign.cert, foreign.key)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{url}/v1/pools/default", ssl=context)


def _paths(files: TLSFiles) -> tuple[Path, Path, Path]:
    return files.cert, files.key, files.client_ca
