"""`pointsman xds --system-namespace`: RoutingGateways say what Envoys bind, and who may use them."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway_world import GatewayWorld
from pointsman import install
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import GATEWAYS, NAMESPACES, POLICIES, SECRETS
from pointsman.lab import binaries
from pointsman.lab.checks import http_get
from pointsman.lab.pki import Authority
from wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.controlplane import ControlPlane
    from pointsman.lab.pki import Pair
    from xds_world import World

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]


@pytest.fixture
async def cluster(world: World, plane: ControlPlane, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    """Return a world whose gateway is a RoutingGateway, which is the test's to create."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        made = GatewayWorld(plane, admin, world.upstream, tmp_path / "gateway", namespace=world.namespace)
        await made.install()
        yield made
        for gateway in (await admin.list(GATEWAYS, made.system)).items:
            await admin.delete(GATEWAYS, gateway["metadata"]["name"], made.system)
        await made.clean()


async def entry(world: World, policy: str, reason: str) -> dict[str, Any]:
    """Wait until a policy's entry of the state has this reason; return it."""

    async def found() -> dict[str, Any]:
        told = await world.entry_of(policy)
        return told if told.get("reason") == reason else {}

    return await until(found, 20, what=f"{policy}: {reason}")


async def answered(world: World, policy: str, status: int) -> None:
    """Wait until requests for a policy are answered with this status."""

    async def so() -> bool:
        try:
            return (await world.ask(policy)).status_code == status
        except httpx.TransportError:
            return False

    await until(so, 20, what=f"{policy}: {status}")


async def test_a_gateway_that_is_not_there_is_named_with_those_that_are(cluster: GatewayWorld) -> None:
    """The policy says which gateways there are; once its own is created, its listener serves."""
    await cluster.policy("p", cluster.tier("strong"))
    async with await cluster.server():
        found = await entry(cluster, "p", "GatewayNotFound")
        assert f"no RoutingGateway {cluster.namespace} in namespace {cluster.system}" in found["message"]
        await cluster.gateway()
        async with cluster.envoy():
            await answered(cluster, "p", 200)
            await entry(cluster, "p", "Acknowledged")


async def test_envoy_binds_what_the_gateway_lists_and_takes_bodies_up_to_its_limit(
    cluster: GatewayWorld,
) -> None:
    """Two listeners, the second added later: ports follow the list; a longer body is answered 413."""
    await cluster.policy("p", cluster.tier("strong"))
    made = await cluster.gateway(limits={"body": "64Ki"})
    async with await cluster.server(), cluster.envoy():
        await answered(cluster, "p", 200)
        long = {"model": "auto", "messages": [{"role": "user", "content": "x" * 70_000}]}
        async with httpx.AsyncClient(timeout=5) as http:
            url = f"http://{cluster.entry}/v1/chat/completions"
            sent: dict[str, Any] = {"headers": {"host": "p.example.com"}, "json": long}
            assert (await http.post(url, **sent)).status_code == 413
            wider = {"spec": {"limits": {"body": "1Mi"}}}
            await cluster.admin.patch(GATEWAYS, cluster.namespace, cluster.system, wider)

            async def taken() -> bool:
                return (await http.post(url, **sent)).status_code == 200

            await until(taken)
        listeners = [*made["spec"]["listeners"], {"name": "more", "port": 8080, "protocol": "HTTP"}]
        body = {"spec": {"listeners": listeners}}
        await cluster.admin.patch(GATEWAYS, cluster.namespace, cluster.system, body)
        second = f"{cluster.address}:{install.ENVOY_FIRST_PORT + 1}"
        await until(lambda: http_get(second, "/")[0] == 404)
        told = (await cluster.told())["gateways"][cluster.namespace]["listeners"]
        assert told["more"] == {"port": install.ENVOY_FIRST_PORT + 1, "served": True, "message": ""}


async def test_listeners_come_and_go_and_no_request_of_another_notices(cluster: GatewayWorld) -> None:
    """While requests come in at the second, the first is taken away, and two others are put before it."""
    http, kept, *more = (
        {"name": name, "port": port, "protocol": "HTTP"}
        for port, name in enumerate(("http", "kept", "one", "two"), 80)
    )
    await cluster.policy("p", cluster.tier("strong"))
    await cluster.gateway(http, kept)
    await cluster.listen(http, kept)
    first, second, third = (f"{cluster.address}:{install.ENVOY_FIRST_PORT + place}" for place in range(3))
    async with await cluster.server(), cluster.envoy():
        await answered(cluster, "p", 200)
        async with asked_without_end(f"http://{second}/v1/chat/completions") as statuses:
            await cluster.listen(kept)
            await until(lambda: not listens(first), 60, what="the first is gone")
            await cluster.listen(*more, kept)
            await until(lambda: listens(first) and listens(third), 20, what="both are there")
            enough = len(statuses) + 50
            await until(lambda: len(statuses) >= enough, 20)
        assert set(statuses) == {200}


@asynccontextmanager
async def asked_without_end(url: str) -> AsyncIterator[list[int]]:
    """Ask on and on, each time on a connection of its own; the list gets each status, 0 for no answer."""
    statuses: list[int] = []
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

    async def ask() -> None:
        headers = {"host": "p.example.com", "connection": "close"}
        async with httpx.AsyncClient(timeout=10, headers=headers) as http:
            while True:
                try:
                    statuses.append((await http.post(url, json=body)).status_code)
                except httpx.TransportError:
                    statuses.append(0)

    asking = asyncio.create_task(ask())
    try:
        await until(lambda: 200 in statuses, 20, what="the first answer")
        yield statuses
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def listens(address: str) -> bool:
    """Tell whether somebody takes connections at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


async def test_a_namespace_is_let_in_by_its_labels_and_put_out_at_once(cluster: GatewayWorld) -> None:
    """Without the label nothing of it is served; with it the policy is; taken away, it is out again."""
    await cluster.policy("p", cluster.tier("strong"))
    selector = {"matchLabels": {"team": "chat"}}
    await cluster.gateway(allowedNamespaces={"from": "Selector", "selector": selector})
    async with await cluster.server(), cluster.envoy():
        found = await entry(cluster, "p", "NamespaceNotAllowed")
        assert "labelled team=chat" in found["message"]
        await answered(cluster, "p", 404)
        for labels, status in (({"team": "chat"}, 200), ({"team": None}, 404)):
            body = {"metadata": {"labels": labels}}
            await cluster.admin.patch(NAMESPACES, cluster.namespace, None, body)
            await answered(cluster, "p", status)


async def test_a_host_that_is_not_allowed_gets_nothing_and_strong_serves(cluster: GatewayWorld) -> None:
    """The list leaves out the cheap tier's host while it serves: from then on all goes to strong."""
    elsewhere = cluster.tier("cheap")
    elsewhere["endpoints"] = [{"url": elsewhere["endpoints"][0]["url"].replace("127.0.0.1", "localhost")}]
    made = await cluster.policy("p", elsewhere, cluster.tier("strong"))
    await cluster.revision(made, "p-1", "cheap")
    await cluster.traffic("p", p_1=1000)
    await cluster.gateway(tierHosts=["127.0.0.1", "localhost"])
    async with await cluster.server(), cluster.envoy() as running:
        await until(lambda: served(cluster, "cheap"), 20)
        body = {"spec": {"tierHosts": ["127.0.0.1"]}}
        await cluster.admin.patch(GATEWAYS, cluster.namespace, cluster.system, body)
        found = await entry(cluster, "p", "TierHostNotAllowed")
        assert "tiers[cheap].endpoints: host localhost is not among" in found["message"]
        await until(lambda: served(cluster, "strong"))
        assert running is not None


async def test_a_deleted_gateways_envoys_finish_with_what_they_have(cluster: GatewayWorld) -> None:
    """While an Envoy of it is connected it serves its policies; a new policy is not taken."""
    await cluster.policy("p", cluster.tier("strong"))
    await cluster.gateway()
    async with await cluster.server():
        async with cluster.envoy():
            await answered(cluster, "p", 200)
            await cluster.admin.delete(GATEWAYS, cluster.namespace, cluster.system)
            await cluster.policy("q", cluster.tier("strong"))
            for name in ("p", "q"):
                await entry(cluster, name, "GatewayNotFound")
            assert (await cluster.ask("p")).status_code == 200
            assert (await cluster.ask("q")).status_code == 404
        await until(lambda: forgotten(cluster), 20)


async def test_a_secret_is_read_only_where_its_namespace_allows_it(cluster: GatewayWorld) -> None:
    """Forbidden: the policy says so with two commands; they are run as they stand, and it heals in 10 s.

    Another policy is served meanwhile, and the start did not wait.
    """
    for name in ("keys", "others"):
        body = {"metadata": {"name": name}, "stringData": {"k": f"of-{name}"}}
        await cluster.admin.create(SECRETS, body, cluster.namespace)
    await cluster.policy("p", cluster.tier("strong", key="k"))
    await cluster.policy("q", cluster.tier("strong"))
    await cluster.gateway()
    started = time.monotonic()
    async with await cluster.server(), cluster.envoy():
        await answered(cluster, "q", 200)
        assert time.monotonic() - started < 15
        found = await entry(cluster, "p", "SecretForbidden")
        commands = found["message"].partition("Allow it: ")[2].split(" && ")
        assert len(commands) == 2
        for command in commands:
            await run(cluster, command)
        allowed = time.monotonic()
        await entry(cluster, "p", "Acknowledged")
        assert time.monotonic() - allowed < 10
        await answered(cluster, "p", 200)
        assert cluster.upstream.received[-1].headers["Authorization"] == "Bearer of-keys"
        await cluster.admin.patch(SECRETS, "keys", cluster.namespace, {"stringData": {"k": "new"}})

        async def rotated() -> bool:
            await cluster.ask("p")
            return cluster.upstream.received[-1].headers["Authorization"] == "Bearer new"

        await until(rotated)
    token = await cluster.token()
    async with await KubeClient.open(str(token)) as account:
        with pytest.raises(Exception, match="403 Forbidden"):
            await account.get(SECRETS, "others", cluster.namespace)
        with pytest.raises(Exception, match="403 Forbidden"):
            await account.list(SECRETS, cluster.namespace)


async def test_certificates_come_from_secrets_and_are_renewed(cluster: GatewayWorld, tmp_path: Path) -> None:
    """One by one: missing, forbidden, garbled, good, renewed; the plain listener serves all the time."""
    authority = Authority(tmp_path / "pki")
    tls = {"certificateRefs": [{"name": "front"}]}
    await cluster.policy("p", cluster.tier("strong"))
    plain = {"name": "http", "port": 80, "protocol": "HTTP"}
    await cluster.gateway(plain, {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls})
    async with await cluster.server(), cluster.envoy():
        await answered(cluster, "p", 200)
        told = await until(lambda: listener(cluster, "may not be read"), 20)
        assert told["served"] is False
        await cluster.allow_secret(cluster.system, "front")
        await until(lambda: listener(cluster, "is not there"), 20)
        garbled = {"tls.crt": "no", "tls.key": "no"}
        body = {"metadata": {"name": "front"}, "stringData": garbled, "type": "kubernetes.io/tls"}
        await cluster.admin.create(SECRETS, body, cluster.system)
        await until(lambda: listener(cluster, "tls.crt is no certificate in PEM"))
        assert (await cluster.ask("p")).status_code == 200
        for file in ("one", "two"):
            pair = authority.leaf(file, "front", hosts=["p.example.com"])
            await cluster.admin.patch(SECRETS, "front", cluster.system, {"stringData": data(pair)})
            await until(lambda pair=pair: shows(cluster, authority, pair), 20)  # type: ignore[misc]
        await cluster.admin.patch(SECRETS, "front", cluster.system, {"stringData": garbled})
        told = await until(lambda: listener(cluster, "no certificate"))
        assert told["served"] is True
        assert await shows(cluster, authority, pair)
        metric = await cluster.metric("pointsman_xds_unusable_certificates")
        assert metric == 1


async def served(world: World, tier: str) -> bool:
    """Tell whether this tier answers."""
    return await world.served_by("p") == tier


async def forgotten(world: World) -> bool:
    """Tell whether nothing of the policy is served any more."""
    return not (await world.entry_of("p")).get("traffic")


async def listener(cluster: GatewayWorld, words: str) -> dict[str, Any]:
    """Return what the state says of the HTTPS listener, if its message has these words."""
    gateway = (await cluster.told())["gateways"].get(cluster.namespace, {})
    found: dict[str, Any] = gateway.get("listeners", {}).get("https", {})
    return found if words in found.get("message", "") else {}


def data(pair: Pair) -> dict[str, str]:
    """Return a certificate as a Secret has it."""
    return {"tls.crt": pair.cert.read_text("utf-8"), "tls.key": pair.key.read_text("utf-8")}


async def shows(cluster: GatewayWorld, authority: Authority, pair: Pair) -> bool:
    """Tell whether the second listener shows this very certificate."""
    context = ssl.create_default_context(cafile=str(authority.pair.cert))
    port = install.ENVOY_FIRST_PORT + 1
    try:
        _, writer = await asyncio.open_connection(
            cluster.address, port, ssl=context, server_hostname="p.example.com"
        )
    except OSError:
        return False
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown) == pair.cert.read_text("utf-8")


async def run(cluster: GatewayWorld, command: str) -> None:
    """Run a kubectl command as the administrator."""
    program, *words = shlex.split(command)
    assert program == "kubectl"
    kubectl = shutil.which("kubectl") or str(binaries.ensure("kubectl"))
    child = await asyncio.create_subprocess_exec(
        *(kubectl, "--kubeconfig", str(cluster.plane.kubeconfig), *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await child.communicate()
    assert child.returncode == 0, said.decode()


async def test_two_gateways_share_nothing(cluster: GatewayWorld) -> None:
    """A policy of another gateway is not served by this one's Envoys."""
    await cluster.gateway()
    made = await cluster.policy("p", cluster.tier("strong"))
    body = {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "metadata": {"name": "q"}}
    spec = made["spec"] | {"gatewayRef": {"name": "another"}}
    spec = spec | {"match": {"hostnames": ["q.example.com"], "models": ["auto"]}}
    await cluster.admin.create(POLICIES, body | {"spec": spec}, cluster.namespace)
    async with await cluster.server(), cluster.envoy():
        await answered(cluster, "p", 200)
        await answered(cluster, "q", 404)
