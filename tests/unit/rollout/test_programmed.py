"""What several xds servers say, summed up."""

from __future__ import annotations

import pytest

from pointsman.api.conditions import AcceptedReason, ProgrammedReason, condition
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.status import RoutingPolicyStatus, TrafficShare
from pointsman.clock import system_clock
from pointsman.rollout.observation import Programmed
from pointsman.rollout.programmed import Entry, Report, Steady, programmed

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
    "one that lags behind holds it": ([says(entry()), says(entry(generation=1))], "Pending", None),
    "one that lags and has no Envoys does not": (
        [says(entry()), says(entry("HostConflict", generation=1, words="no"), 0)],
        "Acknowledged",
        None,
    ),
    "traffic of before is no answer": ([says(OTHER_TRAFFIC)], "Pending", None),
    "a refusal is told": ([says(entry()), says(entry("Quarantined", words="bad"))], "Quarantined", None),
    "nobody connected": ([says(entry("NoEnvoy"), 0)], "NoEnvoy", None),
    "a missing revision is told before it": ([says(entry("RevisionNotFound"), 0)], "RevisionNotFound", None),
    "nobody answers": ([AWAY], "XdsUnreachable", None),
    "nobody is configured": ([], "XdsUnreachable", None),
    "a host conflict": ([says(entry("HostConflict", words="by chat/b"))], "NotAccepted", "by chat/b"),
    "a forbidden Secret": ([says(entry("SecretForbidden", words="run"))], "NotAccepted", "run"),
    "a gateway that is not there": ([says(entry("GatewayNotFound", words="no"), 0)], "NotAccepted", "no"),
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


XDS_REFUSALS = (
    AcceptedReason.HOST_CONFLICT,
    AcceptedReason.GATEWAY_NOT_FOUND,
    AcceptedReason.NAMESPACE_NOT_ALLOWED,
    AcceptedReason.TIER_HOST_NOT_ALLOWED,
    AcceptedReason.SECRET_FORBIDDEN,
)


@pytest.mark.parametrize("reason", XDS_REFUSALS)
@pytest.mark.parametrize(("generation", "known"), [(2, True), (1, False)])
def test_a_refusal_is_remembered_for_the_same_spec_only(
    reason: AcceptedReason, generation: int, *, known: bool
) -> None:
    """While nobody can be asked, what was said holds for the spec that it was about, and no other."""
    told = condition(reason, "in words", generation, system_clock())
    refusal = programmed(policy(RoutingPolicyStatus(conditions=[told])), [AWAY])[1]
    assert (refusal is not None and (refusal.reason, refusal.message) == (reason, "in words")) == known


ACKNOWLEDGED = Programmed(ProgrammedReason.ACKNOWLEDGED)
PENDING = Programmed(ProgrammedReason.PENDING)


def moved(**changes: object) -> RoutingPolicy:
    """Return the policy with another status or metadata."""
    found = policy()
    if "generation" in changes:
        return found.model_copy(update={"metadata": found.metadata.model_copy(update=changes)})
    return policy(RoutingPolicyStatus.model_validate(changes))


def test_what_was_acknowledged_holds_while_envoys_change_servers() -> None:
    """Pending and NoEnvoy for the grace time are nothing; longer than that they are told."""
    steady = Steady(5.0)
    assert steady(policy(), ACKNOWLEDGED, 0.0) == (ACKNOWLEDGED, 0.0)
    assert steady(policy(), PENDING, 100.0) == (ACKNOWLEDGED, 5.0)
    assert steady(policy(), Programmed(ProgrammedReason.NO_ENVOY), 103.0) == (ACKNOWLEDGED, 2.0)
    assert steady(policy(), PENDING, 105.0) == (PENDING, 0.0)
    assert steady(policy(), PENDING, 106.0) == (PENDING, 0.0)


def test_a_word_in_between_begins_the_grace_time_anew() -> None:
    """An acknowledgement is the end of the doubt."""
    steady = Steady(5.0)
    for now, found in ((0.0, ACKNOWLEDGED), (10.0, PENDING), (14.0, ACKNOWLEDGED)):
        steady(policy(), found, now)
    assert steady(policy(), PENDING, 20.0) == (ACKNOWLEDGED, 5.0)


@pytest.mark.parametrize(
    "other",
    [
        moved(generation=3),
        moved(traffic=[{"revision": "always-strong", "weightPermille": 1000}]),
        policy().model_copy(
            update={"metadata": policy().metadata.model_copy(update={"uid": "another policy of this name"})}
        ),
    ],
    ids=["another generation", "other traffic", "another policy"],
)
def test_only_what_was_acknowledged_is_held(other: RoutingPolicy) -> None:
    """Of another spec, of traffic that was moved or of a policy made anew nothing was acknowledged."""
    steady = Steady(5.0)
    steady(policy(), ACKNOWLEDGED, 0.0)
    assert steady(other, PENDING, 1.0) == (PENDING, 0.0)


@pytest.mark.parametrize(
    "reason",
    [ProgrammedReason.QUARANTINED, ProgrammedReason.NOT_ACCEPTED, ProgrammedReason.XDS_UNREACHABLE],
)
def test_what_does_not_pass_by_itself_is_told_at_once(reason: ProgrammedReason) -> None:
    """A refusal of Envoy's is none of a restart; and that nobody answers was waited for already."""
    steady = Steady(5.0)
    steady(policy(), ACKNOWLEDGED, 0.0)
    assert steady(policy(), Programmed(reason, "no"), 1.0) == (Programmed(reason, "no"), 0.0)
