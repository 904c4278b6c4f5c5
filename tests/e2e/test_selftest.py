"""What `helm test` runs, against a running lab."""

from __future__ import annotations

from pointsman.lab.process import LOCALHOST, free_port
from stack import POLICIES, Stack, pointsman


def selftest(stack: Stack, *more: str, check: bool = True) -> str:
    """Run it through the lab's entry; return what it said."""
    status, tier = stack.status(), f"{LOCALHOST}:{free_port()}"
    arguments = ["--kubeconfig", status["kubeconfig"], "--tier-address", tier]
    arguments += ["--gateway-url", status["entry"], "--tier-url", f"http://{tier}/v1"]
    done = pointsman("selftest", *arguments, *more, check=check)
    return done.stdout + done.stderr


def test_it_serves_and_leaves_nothing(stack: Stack) -> None:
    """The policy becomes Ready, its first tier answers, and the policy is gone afterwards."""
    said = selftest(stack)
    assert "tier first answered" in said
    assert "ok: the gateway serves what the policy says" in said
    left = stack.kube.get(POLICIES.format("default"))["items"]
    assert "pointsman-selftest" not in {policy["metadata"]["name"] for policy in left}


def test_a_gateway_that_is_not_there_is_named(stack: Stack) -> None:
    """After its deadline it says which condition is not met."""
    said = selftest(stack, "--gateway", "elsewhere", "--deadline", "3s", check=False)
    assert "Error: the policy is not Ready: " in said
    assert "Programmed=False" in said
