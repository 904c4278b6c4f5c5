"""`pointsman xds` between a real API server and a real Envoy."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.kube.resources import POLICIES, SECRETS
from pointsman.lab.checks import http_get
from wait import until

if TYPE_CHECKING:
    from xds_world import World

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]


async def test_a_policy_is_served_and_its_state_told(world: World) -> None:
    """An empty status means the last tier; the state says so, and that Envoy has it."""
    await world.policy("p", world.tier("cheap"), world.tier("strong"))
    async with world.xds(), world.envoy():
        assert await world.served_by("p") == "strong"
        entry = await until(lambda: programmed(world, "p"))
        assert entry["traffic"] == [{"revision": "always-strong", "weightPermille": 1000}]
        assert (entry["generation"], entry["reason"]) == (1, "Acknowledged")


async def test_one_status_write_moves_the_traffic_at_once(world: World) -> None:
    """From the write of status.traffic to the first answer of the other tier takes less than a second."""
    made = await world.policy("p", world.tier("cheap"), world.tier("strong"))
    await world.revision(made, "p-1", "cheap")
    async with world.xds(), world.envoy():
        await until(lambda: programmed(world, "p"))
        took = []
        for weights, tier in (({"p_1": 1000}, "cheap"), ({"always_strong": 1000}, "strong")) * 3:
            started = time.monotonic()
            await world.traffic("p", **weights)
            await until(partial(same, world, "p", tier))
            took.append(time.monotonic() - started)
        assert max(took) < 1
        entry = await until(lambda: programmed(world, "p"))
        assert entry["traffic"] == [{"revision": "always-strong", "weightPermille": 1000}]
        assert await world.metric("pointsman_xds_change_ack_seconds_count") >= 6


async def test_the_state_is_told_to_who_waits_for_it(world: World) -> None:
    """A long poll is answered when something changes, and not before."""
    async with world.xds():
        now = await world.told()
        waiting = asyncio.create_task(world.told(now["version"], wait=20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.3)
        await world.policy("p", world.tier("strong"))
        told = await asyncio.wait_for(waiting, 5)
        assert told["version"] > now["version"]
        entry = await until(lambda: world.entry_of("p"))
        assert (entry["programmed"], entry["reason"]) == (False, "NoEnvoy")


async def test_a_long_poll_without_news_ends(world: World) -> None:
    """After the wait the same version is told."""
    async with world.xds():
        await until(lambda: synced(world))
        now = await world.told()
        assert (await world.told(now["version"], wait=0.2))["version"] == now["version"]


async def test_a_tiers_key_comes_from_its_secret_and_is_rotated(world: World) -> None:
    """The upstream sees the Secret's value as bearer token, and its new value after a change."""
    await world.admin.create(
        SECRETS, {"metadata": {"name": "keys"}, "stringData": {"k": "one"}}, world.namespace
    )
    await world.policy("p", world.tier("strong", key="k"))
    async with world.xds(), world.envoy():
        await world.ask("p")
        assert world.upstream.received[-1].headers["Authorization"] == "Bearer one"
        await world.admin.patch(SECRETS, "keys", world.namespace, {"stringData": {"k": "two"}})

        async def rotated() -> bool:
            await world.ask("p")
            return world.upstream.received[-1].headers["Authorization"] == "Bearer two"

        await until(rotated)


async def test_a_missing_secret_is_named_and_found_when_it_comes(world: World) -> None:
    """The policy is not programmed and says which key is missing; creating it is enough."""
    await world.policy("p", world.tier("strong", key="k"))
    await world.policy("q", world.tier("strong"))
    async with world.xds(), world.envoy():
        entry = await until(lambda: reason(world, "p", "SecretNotFound"))
        assert f"{world.namespace}/keys has no key k" in entry["message"]
        assert await world.served_by("q") == "strong"
        await world.admin.create(
            SECRETS, {"metadata": {"name": "keys"}, "stringData": {"k": "v"}}, world.namespace
        )
        await until(lambda: programmed(world, "p"))
        await world.ask("p")
        assert world.upstream.received[-1].headers["Authorization"] == "Bearer v"


async def test_traffic_to_a_revision_that_is_not_there_keeps_the_last_plan(world: World) -> None:
    """The last plan is served and the state says why, until the revision comes."""
    made = await world.policy("p", world.tier("cheap"), world.tier("strong"))
    async with world.xds(), world.envoy():
        await until(lambda: programmed(world, "p"))
        await world.traffic("p", p_1=1000)
        await until(lambda: reason(world, "p", "RevisionNotFound"))
        assert await world.served_by("p") == "strong"
        await world.revision(made, "p-1", "cheap")
        await until(lambda: same(world, "p", "cheap"))


async def test_the_younger_of_two_that_want_the_same_is_told_so(world: World) -> None:
    """A host and model that another policy holds: HostConflict, and the older one is served."""
    await world.policy("p", world.tier("strong"))
    async with world.xds(), world.envoy():
        await until(lambda: programmed(world, "p"))
        spec = (await world.admin.get(POLICIES, "p", world.namespace))["spec"]
        body = {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "metadata": {"name": "q"}}
        await world.admin.create(POLICIES, body | {"spec": spec}, world.namespace)
        await until(lambda: reason(world, "q", "HostConflict"))
        assert await programmed(world, "p")


async def test_a_deleted_policy_is_served_no_more(world: World) -> None:
    """Its host answers 404 and its entry is gone."""
    await world.policy("p", world.tier("strong"))
    async with world.xds(), world.envoy():
        await until(lambda: programmed(world, "p"))
        await world.admin.delete(POLICIES, "p", world.namespace)
        await until(lambda: status(world, "p", 404))
        assert await world.entry_of("p") == {}


async def test_a_killed_server_costs_no_request_and_its_successor_sends_nothing(world: World) -> None:
    """`kill -9` under load: every request is answered, and the next process finds Envoy up to date."""
    await world.policy("p", world.tier("strong"))
    xds = world.xds()
    async with xds, world.envoy():
        await until(lambda: programmed(world, "p"))
        async with world.load("p") as codes:
            assert xds.child is not None
            xds.child.kill()
            child = xds.start()
            await asyncio.to_thread(child.wait_ready)
            await until(lambda: programmed(world, "p"), 20)
        assert set(codes) == {200}
        assert await world.metric("pointsman_xds_pushes_total") == 0


async def test_an_api_server_that_is_away_changes_nothing(world: World) -> None:
    """Killed and started again: Envoy keeps what it has, later changes come through."""
    made = await world.policy("p", world.tier("cheap"), world.tier("strong"))
    await world.revision(made, "p-1", "cheap")
    async with world.xds(), world.envoy():
        await until(lambda: programmed(world, "p"))
        pushes = await world.metric("pointsman_xds_pushes_total")
        assert world.plane.apiserver.child is not None
        world.plane.apiserver.child.kill()
        child = world.plane.apiserver.start()
        await asyncio.to_thread(child.wait_ready)
        assert await world.served_by("p") == "strong"
        assert await world.metric("pointsman_xds_pushes_total") == pushes
        await world.traffic("p", p_1=1000)
        await until(lambda: same(world, "p", "cheap"), 20)


async def test_nothing_is_served_before_the_caches_have_synced(world: World) -> None:
    """Without an API server: not ready, no state, and an Envoy that connects gets nothing yet."""
    await world.policy("p", world.tier("strong"))
    assert world.plane.apiserver.child is not None
    world.plane.apiserver.child.kill()
    xds = world.xds()
    child = xds.start()
    try:
        await until(lambda: http_get(world.http, "/healthz")[0] == 200, 20)
        async with world.envoy(configured=False):
            assert http_get(world.http, "/readyz")[0] == 503
            assert (await world.told())["synced"] is False
            again = world.plane.apiserver.start()
            await asyncio.to_thread(again.wait_ready)
            await until(lambda: same(world, "p", "strong"), 20)
            assert http_get(world.http, "/readyz")[0] == 200
    finally:
        assert child.stop() == 0


async def test_it_ends_in_order_when_asked_to(world: World) -> None:
    """SIGTERM with an Envoy and a long poll connected: exit code 0, soon."""
    xds = world.xds()
    async with xds, world.envoy():
        await until(lambda: synced(world))
        version = (await world.told())["version"]
        waiting = asyncio.create_task(world.told(version, wait=20))
        await asyncio.sleep(0)
        assert xds.child is not None
        started = time.monotonic()
        assert await asyncio.to_thread(xds.child.stop) == 0
        assert time.monotonic() - started < 4
        await asyncio.gather(waiting, return_exceptions=True)


async def test_an_address_that_is_taken_is_said_so(world: World) -> None:
    """Two servers on one port: the second ends with the flag's name."""
    async with world.xds():
        second = world.xds().start()
        assert await asyncio.to_thread(second._process.wait, 20) != 0
    assert "address" in (world.state / "log" / "xds.log").read_text("utf-8")


async def programmed(world: World, policy: str) -> dict[str, Any]:
    """Return a policy's entry once Envoy has acknowledged it, else an empty one."""
    entry = await world.entry_of(policy)
    return entry if entry.get("programmed") else {}


async def reason(world: World, policy: str, wanted: str) -> dict[str, Any]:
    """Return a policy's entry once it has this reason, else an empty one."""
    entry = await world.entry_of(policy)
    return entry if entry.get("reason") == wanted else {}


async def synced(world: World) -> bool:
    """Tell whether the server knows what there is."""
    return bool((await world.told())["synced"])


async def status(world: World, policy: str, wanted: int) -> bool:
    """Tell whether a request is answered with this status."""
    return (await world.ask(policy)).status_code == wanted


async def same(world: World, policy: str, wanted: str) -> bool:
    """Tell whether this tier answers for a policy."""
    return await world.served_by(policy) == wanted
