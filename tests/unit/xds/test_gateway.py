"""A gateway with several Envoys that speak the protocol: who is waited for, who is blamed, what is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from plans import arm, policy, tier
from pointsman.xds import hub as hubs
from pointsman.xds.delta import Incoming, Timing
from pointsman.xds.hub import Hub, Refused
from pointsman.xds.metrics import XdsMetrics
from pointsman.xds.translate import Options
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE

if TYPE_CHECKING:
    from pointsman.plan.types import PolicyPlan


def hub() -> Hub:
    """Return an open hub without any waiting times."""
    made = Hub(
        Options(),
        lambda _: b"",
        XdsMetrics(CollectorRegistry()),
        lambda: None,
        Timing(warm=0, patience=0, linger=0),
    )
    made.open()
    return made


def desire(to: Hub, *plans: PolicyPlan) -> None:
    """Serve these plans."""
    to.desire("default", {plan.key: plan for plan in plans})


class Client:
    """An Envoy as far as the protocol goes; refuses responses that hold a resource named in `refuses`."""

    def __init__(self, to: Hub, node: str, refuses: str | None = None) -> None:
        self._hub = to
        self.gateway, self.envoy = to.connect("default", node, lambda: None)
        self.refuses = refuses
        for type_url in (CLUSTER, LISTENER):
            self.gateway.receive(self.envoy, Incoming(type_url))
        self.gateway.receive(self.envoy, Incoming(ROUTE, subscribe=("entry",)))

    def settle(self) -> None:
        """Answer until nothing more comes."""
        while responses := self.gateway.pump(self.envoy):
            for response in responses:
                names = [name for name, _ in response.resources]
                bad = [name for name in names if self.refuses and self.refuses in name]
                self.gateway.receive(
                    self.envoy,
                    Incoming(response.type_url, nonce=response.nonce, error=f"no {bad}" if bad else None),
                )

    def leave(self) -> None:
        """Disconnect."""
        self._hub.disconnect(self.gateway, self.envoy)


def reason(of: Hub, key: str = "default/a") -> str:
    """Return the reason in a policy's state."""
    return str(of.state()["default"]["policies"][key]["reason"])


A = policy("a")
A2 = policy("a", arm(tier("new")))
B = policy("b", arm(tier("b")))


def test_a_change_is_pending_until_all_have_it() -> None:
    """Of two Envoys both must answer."""
    made = hub()
    one, two = Client(made, "one"), Client(made, "two")
    one.settle()
    two.settle()
    desire(made, A)
    one.settle()
    assert reason(made) == "Pending"
    two.settle()
    assert reason(made) == "Acknowledged"


def test_one_that_starts_up_is_not_waited_for() -> None:
    """A third Envoy that has not had anything yet does not hold up acknowledgements."""
    made = hub()
    desire(made, A)
    one = Client(made, "one")
    one.settle()
    Client(made, "starting")
    desire(made, A2)
    one.settle()
    assert reason(made) == "Acknowledged"


def test_an_older_stream_of_the_same_envoy_is_not_waited_for() -> None:
    """A connection that broke without a word lingers beside the Envoy's next one."""
    made = hub()
    desire(made, A)
    Client(made, "one").settle()
    again = Client(made, "one")
    again.settle()
    desire(made, A2)
    again.settle()
    assert reason(made) == "Acknowledged"


def test_an_envoy_that_refuses_what_others_have_blames_nobody() -> None:
    """A newcomer of another make: its words are told, changes go on being acknowledged by the others."""
    made = hub()
    desire(made, A, B)
    one = Client(made, "one")
    one.settle()
    newcomer = Client(made, "newcomer", refuses="upstream")
    newcomer.settle()
    state = made.state()["default"]["policies"]
    assert {entry["reason"] for entry in state.values()} == {"Pending"}
    assert all("no ['upstream" in entry["message"] for entry in state.values())
    newcomer.leave()
    assert {reason(made), reason(made, "default/b")} == {"Acknowledged"}
    desire(made, A2, B)
    one.settle()
    assert {reason(made), reason(made, "default/b")} == {"Acknowledged"}


def test_what_one_refuses_is_taken_back_from_all() -> None:
    """Any NACK counts: the policy returns to its last plan on both Envoys, the other policy goes on."""
    made = hub()
    desire(made, A, B)
    one, two = Client(made, "one"), Client(made, "two", refuses="upstream-new")
    for _ in range(2):
        one.settle()
        two.settle()
    desire(made, A2, B)
    for _ in range(4):
        one.settle()
        two.settle()
    assert (reason(made), reason(made, "default/b")) == ("Quarantined", "Acknowledged")
    served = {plan.key: plan for plan in made["default"].plans()}
    assert served["default/a"] == A


def test_without_an_envoy_the_state_says_so() -> None:
    """A policy of a gateway that nobody serves."""
    made = hub()
    desire(made, A)
    assert reason(made) == "NoEnvoy"
    one = Client(made, "one")
    one.settle()
    one.leave()
    assert reason(made) == "NoEnvoy"


def test_a_gateway_that_nobody_needs_is_forgotten() -> None:
    """Neither policy nor Envoy: no memory is kept."""
    made = hub()
    one = Client(made, "one")
    one.settle()
    one.leave()
    assert made.state() == {}


@pytest.mark.parametrize("name", ["", "Default", "a" * 64, "a/b", "-a"])
def test_an_envoy_without_a_gateways_name_is_refused(name: str) -> None:
    """node.cluster must be a DNS label, as gatewayRef.name is."""
    with pytest.raises(Refused, match=r"node\.cluster"):
        hub().connect(name, "n", lambda: None)


def test_there_is_a_limit_to_envoys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server's memory is bounded."""
    monkeypatch.setattr(hubs, "MOST_STREAMS", 2)
    made = hub()
    Client(made, "one")
    Client(made, "two")
    with pytest.raises(Refused, match="run more xds servers"):
        made.connect("default", "three", lambda: None)


def test_what_is_told_of_a_policy_is_the_same_object_until_it_changes() -> None:
    """With thousands of policies, a change of one makes one entry anew; the others need no second look."""
    to = hub()
    stays, moves = policy("a", arm(tier("strong"))), policy("b", arm(tier("strong")))
    desire(to, stays, moves)
    client = Client(to, "one")
    client.settle()
    before = to.state()["default"]["policies"]
    moved = policy("b", arm(tier("strong"), revision="r2"))
    desire(to, stays, moved)
    during = to.state()["default"]["policies"]
    assert during[stays.key] is before[stays.key]
    assert (during[moved.key]["programmed"], during[moved.key]["reason"]) == (False, "Pending")
    client.settle()
    after = to.state()["default"]["policies"]
    assert after[stays.key] is before[stays.key]
    assert after[moved.key]["programmed"]
