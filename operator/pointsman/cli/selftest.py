"""`pointsman selftest`: does an installation serve? A policy, a request through the gateway, who answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pointsman.cli.parameters import ADDRESS, DURATION

if TYPE_CHECKING:
    from aiohttp import web

    from pointsman.kube.client import KubeClient

NAME: Final = "pointsman-selftest"
"""Of the policy, and the model that clients ask for."""
_HOST: Final = "selftest.pointsman.invalid"
_TIERS: Final = ("first", "last")
"""Tier → the model that it must be asked for is `selftest-<tier>`. The policy is pinned to the first."""
_QUESTION: Final = "Who answers?"
_PAUSE_S: Final = 0.5
_ATTEMPT_S: Final = 10.0

_EXAMPLE = """\b
Example (what `helm test` runs, in a pod):
  pointsman selftest --gateway-url http://pointsman-gateway-default.pointsman-system.svc:80 \\
    --tier-address 0.0.0.0:8080 --tier-url http://pointsman-selftest.pointsman-system.svc:8080/v1
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything is."""

    namespace: str
    gateway: str
    gateway_url: str
    tier_address: str
    tier_url: str
    deadline_s: float


class SelftestError(Exception):
    """It does not serve as it should; the text says what was seen last."""


@click.command(name="selftest", epilog=_EXAMPLE)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Default: the cluster that this pod runs in.",
)
@click.option("--namespace", default="default", show_default=True, help="Where the policy is put.")
@click.option("--gateway", default="default", show_default=True, help="The RoutingGateway to go through.")
@click.option("--gateway-url", required=True, help="Where that is reached; of https, no name is checked.")
@click.option("--tier-address", required=True, type=ADDRESS, help="Where this process answers as a tier.")
@click.option("--tier-url", required=True, help="How Envoys reach that, with /v1.")
@click.option("--deadline", type=DURATION, default="2m", show_default=True, help="After it, it has failed.")
def command(
    *,
    kubeconfig: Path | None,
    namespace: str,
    gateway: str,
    gateway_url: str,
    tier_address: str,
    tier_url: str,
    deadline: float,
) -> None:
    """Apply a policy, send a request through a gateway, check who answered; clean up.

    This process is the policy's tiers: it answers what it was asked, and for which model.
    """
    plan = Plan(namespace, gateway, gateway_url.rstrip("/"), tier_address, tier_url, deadline)
    try:
        asyncio.run(_run(plan, str(kubeconfig) if kubeconfig else None))
    except SelftestError as error:
        raise click.ClickException(str(error)) from None
    click.echo("ok: the gateway serves what the policy says")


def policy(plan: Plan) -> dict[str, Any]:
    """Return the policy: two tiers that are this process, pinned to the first."""
    return {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingPolicy",
        "metadata": {"name": NAME, "namespace": plan.namespace},
        "spec": {
            "gatewayRef": {"name": plan.gateway},
            "match": {"hostnames": [_HOST], "models": [NAME]},
            "tiers": [
                {"name": tier, "endpoints": [{"url": plan.tier_url}], "model": f"selftest-{tier}"}
                for tier in _TIERS
            ],
            "strategy": {"type": "Pinned", "pinned": {"tier": _TIERS[0]}},
            "rollout": {"mode": "Direct"},
        },
    }


async def _run(plan: Plan, kubeconfig: str | None) -> None:
    from pointsman.kube.client import KubeClient
    from pointsman.kube.errors import KubeError
    from pointsman.kube.resources import POLICIES

    end = time.monotonic() + plan.deadline_s
    async with _tier(plan.tier_address), await KubeClient.open(kubeconfig) as kube:
        try:
            await kube.delete(POLICIES, NAME, plan.namespace)  # of a run that was killed
            await kube.create(POLICIES, policy(plan), plan.namespace)
            click.echo(f"created the RoutingPolicy {plan.namespace}/{NAME}")
            await _ready(kube, plan, end)
            click.echo("it is Ready")
            await _served(plan, end)
        except KubeError as error:
            raise SelftestError(str(error)) from error
        finally:
            with contextlib.suppress(KubeError):
                await kube.delete(POLICIES, NAME, plan.namespace)


async def _ready(kube: KubeClient, plan: Plan, end: float) -> None:
    """Wait until the policy is Ready; else say every condition that is not True."""
    from pointsman.kube.resources import POLICIES

    while True:
        found = await kube.get(POLICIES, NAME, plan.namespace)
        conditions = (found.get("status") or {}).get("conditions") or []
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            return
        if time.monotonic() > end:
            words = [f"{c['type']}={c['status']}, {c['reason']}: {c['message']}" for c in conditions]
            wrong = [word for word in words if "=True" not in word]
            raise SelftestError("the policy is not Ready: " + ("; ".join(wrong) or "the operator is silent"))
        await asyncio.sleep(_PAUSE_S)


async def _served(plan: Plan, end: float) -> None:
    """Ask through the gateway until the right tier has answered."""
    import httpx

    from pointsman.contract import Header

    question = {"model": NAME, "messages": [{"role": "user", "content": _QUESTION}]}
    # A listener's certificate is for its clients' names, not for the Service's.
    async with httpx.AsyncClient(verify=False, timeout=_ATTEMPT_S) as http:  # noqa: S501 - said in the help
        while True:
            try:
                answer = await http.post(
                    f"{plan.gateway_url}/v1/chat/completions", headers={"host": _HOST}, json=question
                )
            except httpx.HTTPError as error:
                wrong: str | None = f"{plan.gateway_url}: {error or type(error).__name__}"
            else:
                wrong = complaint(answer.status_code, answer.headers.get(Header.SERVED_TIER), answer.text)
            if wrong is None:
                click.echo(f"tier {_TIERS[0]} answered through {plan.gateway_url}")
                return
            if time.monotonic() > end:
                raise SelftestError(wrong)
            await asyncio.sleep(_PAUSE_S)


def complaint(status: int, served_tier: str | None, body: str) -> str | None:
    """Return what is wrong with an answer, or None."""
    if status != 200:  # noqa: PLR2004 - HTTP
        return f"the gateway answered {status}: {body[:500]}"
    if served_tier != _TIERS[0]:
        return f"tier {served_tier} answered, and the policy is pinned to {_TIERS[0]}"
    try:
        said = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return f"this is not what the tier answered: {body[:500]}"
    wanted = _echo(f"selftest-{_TIERS[0]}", _QUESTION)
    return None if said == wanted else f"the tier was asked {said!r}, not {wanted!r}"


def _echo(model: str, question: str) -> str:
    return f"{model} was asked: {question}"


@contextlib.asynccontextmanager
async def _tier(address: str) -> AsyncIterator[None]:
    """Answer as an OpenAI-compatible API: with the model and the question."""
    from aiohttp import web

    from pointsman.address import split_address

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", _answer), web.get("/healthz", _healthy)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, *split_address(address)).start()
        yield
    finally:
        await runner.cleanup()


async def _answer(request: web.Request) -> web.Response:
    from aiohttp import web

    asked = await request.json()
    message = {"role": "assistant", "content": _echo(asked["model"], asked["messages"][-1]["content"])}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}
    return web.json_response(
        {"object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage}
    )


async def _healthy(_: web.Request) -> web.Response:
    from aiohttp import web

    return web.Response(text="ok\n")
