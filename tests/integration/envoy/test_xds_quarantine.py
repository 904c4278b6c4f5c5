"""What a real Envoy refuses is quarantined with its words; everybody else is served."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from envoy_kit.servers import Server, chat_answer
from plans import arm, policy, tier
from pointsman.plan.types import SecretName
from wait import until
from xds_kit import Address, Xds, ask, envoy, xds_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.plan.types import PolicyPlan

pytestmark = pytest.mark.envoy

NO_PORT = 70_000


@pytest.fixture
async def upstream() -> AsyncIterator[Server]:
    """Return a running upstream."""
    server = Server(chat_answer("m"))
    await server.start()
    yield server
    await server.stop()


async def status(xds: Xds, name: str) -> int:
    """Return the status of a request to a policy's host."""
    return (await ask(xds.entry, f"{name}.example.com")).status_code


def quarantined(xds: Xds, *names: str) -> bool:
    """Tell whether exactly these policies are quarantined and all others acknowledged."""
    policies = xds.hub.state()["default"]["policies"]
    wrong = {key for key, entry in policies.items() if not entry["programmed"]}
    return wrong == {f"default/{n}" for n in names} and all(
        policies[key]["reason"] == "Quarantined" for key in wrong
    )


async def test_from_nothing_the_healthy_are_served_and_the_refused_one_is_named(
    tmp_path: Path, upstream: Server
) -> None:
    """Of twenty policies nineteen are served; one says what Envoy said of it, until it is mended."""
    healthy = [policy(f"p{i}", arm(tier(f"t{i}", port=upstream.port))) for i in range(19)]
    async with xds_server(Address()) as xds:
        xds.desire(*healthy, policy("bad", arm(tier(port=NO_PORT))))
        async with envoy(xds, tmp_path):
            await until(lambda: quarantined(xds, "bad"))
            assert "PortValue" in xds.policy("default/bad")["message"]
            assert {await status(xds, f"p{i}") for i in range(19)} == {200}
            assert await status(xds, "bad") == 404
            assert xds.count("pointsman_xds_quarantined_policies") == 1
            xds.desire(*healthy, policy("bad", arm(tier(port=upstream.port))))
            await until(lambda: quarantined(xds))
            assert await status(xds, "bad") == 200


async def test_a_refused_change_keeps_the_last_good_plan(tmp_path: Path, upstream: Server) -> None:
    """A policy that served before goes on as it was; a change that came with it comes through."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))), policy("b", arm(tier(port=upstream.port))))
        async with envoy(xds, tmp_path):
            await until(lambda: quarantined(xds))
            changed = policy("b", arm(tier("renamed", port=upstream.port)))
            xds.desire(policy("a", arm(tier("broken", port=NO_PORT))), changed)
            await until(lambda: quarantined(xds, "a"))
            assert await status(xds, "a") == 200
            answer = await ask(xds.entry, "b.example.com")
            assert answer.headers["x-pointsman-served-tier"] == "renamed"


async def test_refused_routes_are_searched_by_halves(tmp_path: Path, upstream: Server) -> None:
    """A refusal of the routes, which are one resource of all policies, still finds the one to blame."""

    def plans(bad: str) -> list[PolicyPlan]:
        names = [f"p{i}" for i in range(8)]
        return [
            policy(n, arm(tier(port=upstream.port)), hostname="a\nb.example.com" if n == bad else None)
            for n in names
        ]

    async with xds_server(Address()) as xds:
        xds.desire(*plans("p5"))
        async with envoy(xds, tmp_path):
            await until(lambda: quarantined(xds, "p5"))
            assert xds.count("pointsman_xds_nacks_total", type="route") <= 4
            assert {await status(xds, f"p{i}") for i in range(8) if i != 5} == {200}


async def test_a_plan_that_cannot_be_translated_harms_nobody_else(tmp_path: Path, upstream: Server) -> None:
    """What breaks our own translation is held like what Envoy refuses."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))), policy("bad", arm(tier(port=-1))))
        async with envoy(xds, tmp_path):
            await until(lambda: quarantined(xds, "bad"))
            assert await status(xds, "a") == 200


async def test_a_change_is_acknowledged_when_every_envoy_has_it(tmp_path: Path, upstream: Server) -> None:
    """Two Envoys, one of them stopped: the change is pending until that one goes on."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        async with envoy(xds, tmp_path, name="one"), envoy(xds, tmp_path, name="two") as two:
            await until(lambda: quarantined(xds) and xds.count("pointsman_xds_streams") == 2)
            assert two.child is not None
            acks = xds.count("pointsman_xds_acks_total", type="route")
            os.kill(two.child.pid, signal.SIGSTOP)
            try:
                xds.desire(policy("a", arm(tier("new", port=upstream.port))))
                await until(lambda: xds.count("pointsman_xds_acks_total", type="route") == acks + 1)
                assert xds.policy("default/a")["reason"] == "Pending"
            finally:
                os.kill(two.child.pid, signal.SIGCONT)
            await until(lambda: quarantined(xds))


async def test_an_envoy_that_goes_is_waited_for_no_more(tmp_path: Path, upstream: Server) -> None:
    """When the Envoy that had yet to answer disconnects, the others' word is enough."""
    async with xds_server(Address()) as xds:
        xds.desire(policy("a", arm(tier(port=upstream.port))))
        async with envoy(xds, tmp_path, name="one"), envoy(xds, tmp_path, name="two") as two:
            await until(lambda: quarantined(xds) and xds.count("pointsman_xds_streams") == 2)
            assert two.child is not None
            os.kill(two.child.pid, signal.SIGSTOP)
            xds.desire(policy("a", arm(tier("new", port=upstream.port))))
            two.child.kill()
            await until(lambda: quarantined(xds))
            assert xds.hub.state()["default"]["envoys"] == 1


async def test_no_secret_is_quoted(
    tmp_path: Path, upstream: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that Envoy refuses shows neither in the state nor in Envoy's quoted words."""
    name = SecretName("default", "keys", "k")
    async with xds_server(Address()) as xds:
        xds.keys[name.resource] = b"hush-hush\x00"
        xds.desire(
            policy("a", arm(tier(port=upstream.port, api_key=name))),
            policy("b", arm(tier("other", port=upstream.port))),
        )
        async with envoy(xds, tmp_path):
            await until(lambda: xds.programmed("default/b"))
            assert "hush" not in str(xds.hub.state()) + caplog.text
            assert await status(xds, "b") == 200


async def test_a_port_that_is_taken_is_nobodys_fault(tmp_path: Path, upstream: Server) -> None:
    """Envoy that cannot bind the entry port: no policy is blamed, and it serves when the port is free."""
    at = Address()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", at.entry))
        taken.listen()
        async with xds_server(at) as xds:
            xds.desire(policy("a", arm(tier(port=upstream.port))), policy("b", arm(tier(port=upstream.port))))
            async with envoy(xds, tmp_path, configured=False):
                entry = await until(lambda: said(xds, "a", "Address already in use"))
                assert entry["reason"] == "Pending"
                assert xds.policy("default/b")["reason"] == "Pending"
                taken.close()
                await until(lambda: quarantined(xds))
                assert await status(xds, "a") == 200


def said(xds: Xds, name: str, words: str) -> dict[str, Any]:
    """Return a policy's entry once its message has these words, else an empty one."""
    entry = xds.policy(f"default/{name}")
    return entry if words in entry["message"] else {}
