"""Two xds servers for the same Envoys: one dies under load, and nobody but the log notices."""

from __future__ import annotations

import asyncio
import copy
import uuid
from typing import TYPE_CHECKING

import pytest

from pointsman.lab.envoy import Envoy
from pointsman.lab.process import free_port
from pointsman.xds.bootstrap import bootstrap
from wait import until
from xds_world import NOWHERE, World

if TYPE_CHECKING:
    from pointsman.lab.process import Server

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]


def second(world: World) -> World:
    """Return the same gateway as another xds server tells it."""
    other = copy.copy(world)
    other.grpc, other.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    return other


def envoy_of(world: World, *servers: World) -> Envoy:
    """Return the launcher of an Envoy that knows all servers by a DNS name, each at its port."""
    addresses = [server.grpc.replace("127.0.0.1", "localhost") for server in servers]
    return Envoy(
        world.state,
        lambda: bootstrap(
            gateway=world.namespace,
            node_id=str(uuid.uuid4()),
            admin_address=world.envoy_admin,
            xds_addresses=addresses,
            access_log_address=NOWHERE,
            capture_address=NOWHERE,
            xds_tls=world.tls,
        ),
        concurrency=1,
    )


async def envoys(world: World) -> int:
    """Return how many Envoys of the gateway a server has, by its own word."""
    gateway = (await world.told())["gateways"].get(world.namespace, {})
    return int(gateway.get("envoys", 0))


async def connected(*worlds: World) -> World | None:
    """Return whose Envoy it is."""
    for world in worlds:
        if await envoys(world):
            return world
    return None


async def programmed(world: World) -> bool:
    """Tell whether a server says that Envoy has the policy."""
    return bool((await world.entry_of("p")).get("programmed"))


async def test_a_killed_server_hands_its_envoy_over(world: World) -> None:
    """`kill -9` under load: Envoy goes to the other, which sends nothing, as it has all of it already.

    What is served does not change, no answer is refused, and the survivor tells the state; a change that
    comes then is served too, and the next server to start agrees as well.
    """
    other = second(world)
    made = await world.policy("p", world.tier("cheap"), world.tier("strong"))
    await world.revision(made, "p-1", "cheap")
    servers: dict[str, Server] = {each.http: each.xds() for each in (world, other)}
    envoy = envoy_of(world, world, other)
    async with servers[world.http], servers[other.http], envoy:
        holder = await until(lambda: connected(world, other), 20)
        assert holder is not None
        survivor = other if holder is world else world
        await until(lambda: programmed(holder), 20)
        assert (await survivor.entry_of("p"))["reason"] == "NoEnvoy"
        async with world.load("p") as codes:
            child = servers[holder.http].child
            assert child is not None
            child.kill()
            await until(lambda: programmed(survivor), 60)
            assert await survivor.metric("pointsman_xds_pushes_total") == 0
            await world.traffic("p", p_1=1000)
            await until(lambda: served(world, "cheap"))
            again = servers[holder.http].start()
            await asyncio.to_thread(again.wait_ready)
            assert await connected(survivor) is survivor
        assert set(codes) == {200}
        assert await survivor.metric("pointsman_xds_nacks_total") == 0
        assert await envoys(holder) == 0


async def served(world: World, tier: str) -> bool:
    """Tell whether this tier answers."""
    return await world.served_by("p") == tier
