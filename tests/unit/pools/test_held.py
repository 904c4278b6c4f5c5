"""How a model is on a pool, from its pods and their agents' words."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.api.v1alpha1 import TritonPool
from pointsman.pools.held import PoolView, held
from pointsman.pools.pods import PodView, Trouble
from pointsman.pools.state import AgentState, HeldModel, parse
from pointsman.rollout.observation import Phase

SHA = "a" * 64
POOL = TritonPool.model_validate(
    {"metadata": {"name": "default", "namespace": "pointsman-system"}, "spec": {}}
)
READY = PodView("ready-0", "10.0.0.1", ready=True, created="2026-01-01T00:00:00Z")
STARTING = PodView("starting-0", "10.0.0.2", created="2026-01-01T00:05:00Z")
GONE = PodView("ending-0", "10.0.0.3", ready=True, ending=True)


def state(phase: Phase, *, ready: bool = True, message: str = "", cause: Any = None) -> AgentState:
    return AgentState("v", ready, "why", (HeldModel(SHA, phase, message, cause),))


def view(*pods: PodView, **states: AgentState) -> PoolView:
    by_pod = {name.replace("_", "-"): one for name, one in states.items()}
    return PoolView("default", POOL, pods, states=by_pod)


HOLDS = state(Phase.READY)
NO_NODE = PodView(
    "pending-0", trouble=Trouble(ClassifierReadyReason.UNSCHEDULABLE, "0/3 nodes have a free GPU")
)


@pytest.mark.parametrize(
    ("seen", "phase", "reason"),
    [
        pytest.param(PoolView("default", None), Phase.FAILED, "PoolNotFound", id="no pool"),
        pytest.param(view(), Phase.UNREACHABLE, "PoolStarting", id="no pods yet"),
        pytest.param(view(STARTING), Phase.UNREACHABLE, "PoolStarting", id="a pod starts"),
        pytest.param(view(NO_NODE, STARTING), Phase.UNREACHABLE, "Unschedulable", id="no node"),
        pytest.param(view(READY, ready_0=HOLDS), Phase.READY, None, id="held"),
        pytest.param(view(READY), Phase.UNKNOWN, None, id="the agent was not asked yet"),
        pytest.param(view(READY, STARTING, NO_NODE, ready_0=HOLDS), Phase.READY, None, id="scaling up"),
        pytest.param(view(READY, GONE, ready_0=HOLDS), Phase.READY, None, id="scaling down"),
        pytest.param(view(GONE, ending_0=HOLDS), Phase.UNREACHABLE, "PoolStarting", id="the last one ends"),
        pytest.param(
            view(
                READY, PodView("other-0", ready=True), ready_0=HOLDS, other_0=state(Phase.LOST, ready=False)
            ),
            Phase.READY,
            None,
            id="one crashed, and the kubelet has not heard",
        ),
        pytest.param(
            view(READY, PodView("other-0", ready=True), ready_0=HOLDS, other_0=state(Phase.ABSENT)),
            Phase.ABSENT,
            None,
            id="a ready one lacks it",
        ),
        pytest.param(
            view(READY, ready_0=state(Phase.FAILED, cause=ClassifierReadyReason.OUT_OF_MEMORY)),
            Phase.FAILED,
            "OutOfMemory",
            id="no memory for it",
        ),
        pytest.param(
            view(STARTING, starting_0=state(Phase.FAILED, cause=ClassifierReadyReason.BUNDLE_REJECTED)),
            Phase.FAILED,
            "BundleRejected",
            id="no pod gets ready for its sake",
        ),
        pytest.param(
            view(READY, ready_0=state(Phase.ABSENT, cause=ClassifierReadyReason.FETCH_FAILED)),
            Phase.ABSENT,
            "FetchFailed",
            id="it cannot be fetched",
        ),
    ],
)
def test_what_is_told(seen: PoolView, phase: Phase, reason: str | None) -> None:
    """Ready pods decide; only where there is none, the others say why."""
    found = held(seen, SHA, "chat")
    assert (found.phase, found.reason) == (phase, reason)
    assert found.phase == Phase.READY or found.message


def test_a_namespace_that_may_not_use_it_is_told_so() -> None:
    """Whatever the pool holds, it is not for everybody."""
    seen = PoolView("default", POOL, (READY,), states={"ready-0": HOLDS}, refused={"search": "not for you"})
    assert held(seen, SHA, "search").reason == ClassifierReadyReason.POOL_NOT_ALLOWED
    assert held(seen, SHA, "chat").phase == Phase.READY


def test_a_cold_start_is_told_with_its_time() -> None:
    """The words say since when, and stay the same from one look to the next."""
    assert "starting-0 has been starting since 2026-01-01T00:05:00Z" in held(view(STARTING), SHA, "x").message


def test_an_agents_words_survive_their_way() -> None:
    """What the operator reads is what the agent said; unknown causes of a newer agent are none."""
    said = state(Phase.FAILED, message="CUDA out of memory", cause=ClassifierReadyReason.OUT_OF_MEMORY)
    assert parse(said.to_json()) == said
    newer = said.to_json()
    newer["models"][0]["cause"] = "SomethingNew"
    assert parse(newer).models[0].cause is None
    with pytest.raises(ValueError, match="no state"):
        parse({"version": "v"})
