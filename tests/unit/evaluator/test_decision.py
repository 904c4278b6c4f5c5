"""What the evaluator takes Envoy's decision to be is what Envoy's script decides."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plans
from lua_kit import NOW_US, Worker
from pointsman.contract import DECISION, Header, Key, Reason
from pointsman.evaluator.classify import Answer
from pointsman.evaluator.decision import Decision, asks, decide, same_answer
from pointsman.plan.types import ArmPlan, ClassifierPlan, Endpoint, TritonPlan
from pointsman.triton.reply import ReplyError, decode
from pointsman.xds.translate.context import decide_context
from pointsman.xds.translate.options import Options

WORKER = Worker("decide")
TRITON = TritonPlan(("10.0.0.1:8000",))
TIERS = tuple(plans.tier(name, model=f"model-{name}") for name in ("cheap", "middle", "strong"))
FIXED = plans.arm(*TIERS)
RULES = ClassifierPlan("pm-1", TRITON, 50, (("cheap", 640), ("middle", 300)), (("contracts", "middle"),))
ASKING = replace(FIXED, classifier=RULES)


def reply(scores: list[float], intent: str) -> tuple[dict[str, str], bytes]:
    """Return Triton's answer as Envoy gets it."""
    raw = np.array(scores, dtype="<f4").tobytes(), struct.pack("<I", len(intent)) + intent.encode()
    outputs = [
        {"name": name, "parameters": {"binary_data_size": len(data)}}
        for name, data in zip(("score", "intent"), raw, strict=True)
    ]
    head = json.dumps({"outputs": outputs}).encode()
    return {":status": "200", "inference-header-content-length": str(len(head))}, head + b"".join(raw)


def both(
    arm: ArmPlan, scores: list[float], intent: str = "chat", found: str = ""
) -> tuple[Decision, Decision]:
    """Return what Envoy's script decides, and what the evaluator says that it does."""
    body = b'{"model":"auto","messages":[]}'
    limit = 3 if found == Reason.BODY_TOO_LARGE else 1000
    policy = plans.policy("p", arm)
    answer = reply(scores, intent)
    outcome = WORKER.on_request(
        body,
        decide_context(policy, arm, Options(classify_limit=limit)),
        headers={Header.MODEL_AT: f"10:15:{NOW_US}" if found in ("", Reason.BODY_TOO_LARGE) else found},
        metadata={Key.POLICY: policy.key},
        clusters={TRITON.id: answer},
    )
    said = outcome.record(DECISION)
    score = said.get("score")
    in_envoy = Decision(said["tier"], Reason(said["reason"]), score, said.get("intent", ""))
    asked = Answer(*decode(answer[0]["inference-header-content-length"], answer[1]))
    here = decide(arm, asked if asks(arm, found) else None, found)
    shown = round(here.score, 6) if here.score is not None else None
    return in_envoy, replace(here, score=shown)


@pytest.mark.parametrize("found", ["", Reason.BODY_UNREADABLE, Reason.BODY_TOO_LARGE])
@pytest.mark.parametrize("arm", [FIXED, replace(FIXED, pinned="cheap"), ASKING], ids=["strong", "pin", "ask"])
def test_every_kind_of_arm_decides_as_in_envoy(arm: ArmPlan, found: str) -> None:
    """Always-strong, pinned and asking arms, on bodies that Envoy could read or not."""
    in_envoy, here = both(arm, [0.9, 0.9, 1.0], found=found)
    assert here == in_envoy


@pytest.mark.parametrize("scores", [[0.9, 1.0], [0.9, float("nan"), 1.0], [1.1, 0.5, 1.0], [0.5, -0.1, 1.0]])
def test_nonsense_is_the_last_tiers(scores: list[float]) -> None:
    """Scores that no bundle promises decide nothing, here as in Envoy."""
    in_envoy, here = both(ASKING, scores)
    assert here == in_envoy == Decision("strong", Reason.CLASSIFIER_NONSENSE)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0, 0.3, 0.299999, 0.64, 0.6399994, 0.6399996, 0.8, 1]), min_size=3, max_size=3),
    st.sampled_from(["chat", "contracts", ""]),
    st.lists(st.integers(0, 1000), max_size=2),
)
def test_scores_decide_as_in_envoy(scores: list[float], intent: str, least: list[int]) -> None:
    """Whatever the thresholds, the rules for intents and the scores."""
    rules = replace(RULES, thresholds=tuple(zip(("cheap", "middle"), least, strict=False)))
    in_envoy, here = both(replace(FIXED, classifier=rules), scores, intent)
    assert here == in_envoy


def test_a_tier_is_the_same_by_where_it_is_and_what_it_serves() -> None:
    """The order of endpoints, names, keys and time-outs change no answer; a model or an address does."""
    cheap = replace(TIERS[0], endpoints=(Endpoint("http", "a", 80, ""), Endpoint("http", "b", 80, "")))
    other = replace(cheap, name="x", idle_timeout_ms=1, endpoints=cheap.endpoints[::-1])
    assert same_answer(cheap, other)
    assert not same_answer(cheap, replace(cheap, model="another"))
    assert not same_answer(cheap, replace(cheap, endpoints=cheap.endpoints[:1]))


@settings(max_examples=150, deadline=None)
@given(st.integers(-5, 200), st.integers(0, 120), st.integers(0, 255))
def test_no_answer_of_tritons_makes_reading_fail(size: int, at: int, byte: int) -> None:
    """An answer that is cut or has a byte wrong is read or refused, never anything else."""
    _, whole = reply([0.5, 1.0], "chat")
    for bytes_ in (whole[:at], whole[:at] + bytes([byte]) + whole[at + 1 :]):
        try:
            scores, _ = decode(str(size), bytes_)
        except ReplyError:
            continue
        assert all(isinstance(score, float) for score in scores)
