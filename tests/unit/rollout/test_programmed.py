"""What several xds servers say, summed up."""

from __future__ import annotations

import pytest

from pointsman.api.conditions import AcceptedReason, ProgrammedReason, condition
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare
from pointsman.clock import system_clock
from pointsman.rollout.programmed import Entry, Report, programmed

TRAFFIC = (("support-1", 1000),)


def policy(status: RoutingPolicyStatus | None = None) -> RoutingPolicy:
    raw = {
        "metadata": {"name": "support", "namespace": "chat", "uid": "u", "generation": 2},
        "spec": {
            "gatewayRef": {"name": "default"},
            "match": {"hostnames": ["a.example.com"], "models": ["auto"]},
            "tiers": [{"name": "t", "endpoints": [{"url": "http://t/v1"}], "model": "m"}],
            "strategy": {"type": "Pinned", "pinned": {"tier": "t"}},
            "rollout": {"mode": "Direct"},
        },
    }
    shares = [TrafficShare(revision="support-1", weight_permille=1000)]
    present = status or RoutingPolicyStatus(stable_revision="support-1", traffic=shares)
    return RoutingPolicy.model_validate(raw).model_copy(update={"status": present})


def entry(reason: str = "Acknowledged", *, generation: int = 2, words: str = "") -> Entry:
    return Entry(generation, reason == "Acknowledged", reason, words, TRAFFIC)


def says(found: Entry | None, envoys: int = 1) -> Report:
    return Report("http://xds", None, envoys=envoys, entry=found)


AWAY = Report("http://away", "does not answer (ConnectError)")
OTHER_TRAFFIC = Entry(2, True, "Acknowledged", "", (("always-strong", 1000),))

CASES: dict[str, tuple[list[Report], str, str | None]] = {
    "all that have Envoys agree": ([says(entry()), says(entry())], "Acknowledged", None),
    "one that is away has no say": ([says(entry()), AWAY], "Acknowledged", None),
    "one without Envoys has no say": ([says(entry()), says(entry("Pending"), 0)], "Acknowledged", None),
    "one that waits holds it": ([says(entry()), says(entry("Pending"))], "Pending", None),
    "one that has not seen the policy holds it": ([says(entry()), says(None)], "Pending", None),
    "an older generation is no answer": ([says(entry(generation=1))], "Pending", None),
    "traffic of before is no answer": ([says(OTHER_TRAFFIC)], "Pending", None),
    "a refusal is told": ([says(entry()), says(entry("Quarantined", words="bad"))], "Quarantined", None),
    "nobody connected": ([says(entry("NoEnvoy"), 0)], "NoEnvoy", None),
    "a missing revision is told before it": ([says(entry("RevisionNotFound"), 0)], "RevisionNotFound", None),
    "nobody answers": ([AWAY], "XdsUnreachable", None),
    "nobody is configured": ([], "XdsUnreachable", None),
    "a host conflict": ([says(entry("HostConflict", words="by chat/b"))], "NotAccepted", "by chat/b"),
    "a missing Secret": ([says(entry("SecretNotFound", words="no keys"))], "NotAccepted", "no keys"),
    "a reason that is not known": ([says(entry("Later"))], "Pending", None),
}


@pytest.mark.parametrize("sentence", CASES)
def test_summed_up(sentence: str) -> None:
    """The condition and the refusal are those of the sentence."""
    reports, reason, conflict = CASES[sentence]
    found, refusal = programmed(policy(), reports)
    assert (found.reason.value, refusal and refusal.message) == (reason, conflict)


@pytest.mark.parametrize(("generation", "reason"), [(2, "Acknowledged"), (1, "XdsUnreachable")])
def test_what_was_acknowledged_holds_until_somebody_was_asked(generation: int, reason: str) -> None:
    """Right after a start the status stands, if it is about this spec."""
    told = condition(ProgrammedReason.ACKNOWLEDGED, "", generation, system_clock())
    unasked = Report("http://xds", "not asked yet", asked=False)
    found, _ = programmed(policy(RoutingPolicyStatus(conditions=[told])), [unasked])
    assert found.reason.value == reason


@pytest.mark.parametrize(("generation", "known"), [(2, "chat/b holds it"), (1, None)])
def test_a_conflict_is_remembered_for_the_same_spec_only(generation: int, known: str | None) -> None:
    """While nobody can be asked, a conflict holds for the spec that it was about, and no other."""
    told = condition(AcceptedReason.HOST_CONFLICT, "chat/b holds it", generation, system_clock())
    refusal = programmed(policy(RoutingPolicyStatus(conditions=[told])), [AWAY])[1]
    assert (refusal and refusal.message) == known
