"""The delta protocol against a model of Envoy: any interleaving ends in agreement, in the right order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.xds.delta import DeltaStream, Incoming, Outgoing, Timing, Verdict
from pointsman.xds.snapshot import Snapshot, Versioned, snapshot
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET, TYPES

TIMING = Timing(warm=0.5, patience=2, linger=30)


def snap(routes: dict[str, str], clusters: dict[str, str], secrets: dict[str, str] | None = None) -> Snapshot:
    """Return a snapshot; a cluster named in a route's value is one that the route refers to."""

    def plain(named: dict[str, str] | None) -> dict[str, Versioned]:
        return {name: Versioned(value, None) for name, value in (named or {}).items()}

    def referring(named: dict[str, str]) -> dict[str, Versioned]:
        refers = {name: frozenset((CLUSTER, c) for c in value.split("+")) for name, value in named.items()}
        return {name: Versioned(value, None, refers[name]) for name, value in named.items()}

    return snapshot(
        {
            CLUSTER: plain(clusters),
            LISTENER: plain({"entry": "1"}),
            ROUTE: referring(routes),
            SECRET: plain(secrets),
        }
    )


@dataclass
class Envoy:
    """What an Envoy holds, and its queue of responses to answer; refuses versions that begin with `bad`."""

    stream: DeltaStream
    has: dict[str, dict[str, str]] = field(default_factory=lambda: {t: {} for t in TYPES})
    inbox: list[Outgoing] = field(default_factory=list)
    now: float = 0.0

    def pump(self) -> None:
        """Let the server send."""
        self.inbox += self.stream.pump(self.now)

    def say(self, request: Incoming) -> Verdict | None:
        """Send a request."""
        verdict = self.stream.receive(request, self.now)
        self.pump()
        return verdict

    def connect(self) -> None:
        """Open: wildcards for clusters and listeners, by name for the others, telling what it has."""
        for t in (CLUSTER, LISTENER):
            self.say(Incoming(t, initial=dict(self.has[t])))
        for t in (ROUTE, SECRET):
            if self.has[t]:
                self.say(Incoming(t, subscribe=tuple(self.has[t]), initial=dict(self.has[t])))

    def answer(self) -> Verdict | None:
        """Take one response: apply it and acknowledge, or refuse it whole."""
        response = self.inbox.pop(0)
        bad = [n for n, r in response.resources if r.version.startswith("bad")]
        if not bad:
            held = self.has[response.type_url]
            held.update({name: r.version for name, r in response.resources})
            for name in response.removed:
                held.pop(name, None)
            if response.type_url == LISTENER and "entry" in held and "entry" not in self.has[ROUTE]:
                self.say(Incoming(ROUTE, subscribe=("entry",)))
        error = f"refused {bad}" if bad else None
        return self.say(Incoming(response.type_url, nonce=response.nonce, error=error))

    def settle(self) -> None:
        """Answer everything, and let the time pass that the server wants to wait."""
        for _ in range(200):
            self.pump()
            if self.inbox:
                self.answer()
            elif self.stream.due is not None:
                self.now = max(self.now, self.stream.due)
            else:
                return
        raise AssertionError("never quiet")

    def serves_nothing_missing(self) -> bool:
        """Tell whether every cluster that a route names is there."""
        return all(c in self.has[CLUSTER] for value in self.has[ROUTE].values() for c in value.split("+"))


def fresh(target: Snapshot | None = None, timing: Timing = TIMING) -> Envoy:
    """Return a connected Envoy with nothing."""
    envoy = Envoy(DeltaStream(timing))
    if target is not None:
        envoy.stream.retarget(target)
    envoy.connect()
    return envoy


def versions(target: Snapshot, t: str) -> dict[str, str]:
    """Return name → version of one type."""
    return {name: r.version for name, r in target.of(t).items()}


CLUSTERS = st.sets(st.sampled_from("abcdef"), min_size=1, max_size=4)
TARGETS = st.tuples(CLUSTERS, CLUSTERS).map(
    lambda both: snap({"entry": "+".join(sorted(both[0]))}, dict.fromkeys(both[0] | both[1], "1"))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TARGETS, st.integers(0, 6), st.floats(0, 40)), min_size=1, max_size=8))
def test_any_interleaving_ends_in_agreement_and_never_uses_what_is_missing(
    steps: list[tuple[Snapshot, int, float]],
) -> None:
    """Snapshots may change at any moment: at every moment each route's clusters are there."""
    envoy = fresh(steps[0][0])
    for target, answers, wait in steps:
        envoy.stream.retarget(target)
        envoy.now += wait
        envoy.pump()
        for _ in range(answers):
            if envoy.inbox:
                envoy.answer()
                assert envoy.serves_nothing_missing()
    envoy.settle()
    last = steps[-1][0]
    assert envoy.stream.applied == last.version
    for t in (CLUSTER, LISTENER, ROUTE):
        assert envoy.has[t] == versions(last, t)


def test_routes_follow_their_clusters_and_removals_come_last() -> None:
    """Order on the wire: clusters, acknowledged; routes, acknowledged; removals after the lingering time."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    envoy.stream.retarget(snap({"entry": "b"}, {"b": "1"}))
    envoy.pump()
    assert [(r.type_url, r.removed) for r in envoy.inbox] == [(CLUSTER, ())]
    envoy.answer()
    assert [r.type_url for r in envoy.inbox] == [ROUTE]
    envoy.answer()
    assert envoy.inbox == []
    assert envoy.stream.due == envoy.now + TIMING.linger
    envoy.now += TIMING.linger
    envoy.pump()
    assert [(r.type_url, r.removed) for r in envoy.inbox] == [(CLUSTER, ("a",))]


def test_listeners_follow_their_clusters() -> None:
    """A listener's own routes must find their clusters, so it goes out when those are acknowledged."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    target = snap({"entry": "b"}, {"b": "1"})
    listeners = {**target.of(LISTENER), "b": Versioned("1", None)}
    envoy.stream.retarget(snapshot({**target.resources, LISTENER: listeners}))
    envoy.pump()
    sent = []
    while envoy.inbox:
        sent.append(envoy.inbox[0].type_url)
        envoy.answer()
    assert sent == [CLUSTER, LISTENER, ROUTE]


def test_routes_wait_for_a_new_cluster_that_asks_dns() -> None:
    """A cluster that warms is acknowledged before it can be used: routes follow a little later."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    target = snap({"entry": "b"}, {})
    target = snapshot({**target.resources, CLUSTER: {"b": Versioned("1", None, warms=True)}})
    envoy.stream.retarget(target)
    envoy.pump()
    envoy.answer()
    assert (envoy.inbox, envoy.stream.due) == ([], envoy.now + TIMING.warm)
    envoy.now += TIMING.warm
    envoy.pump()
    assert [r.type_url for r in envoy.inbox] == [ROUTE]


def test_routes_wait_for_the_secret_of_a_new_cluster() -> None:
    """Envoy asks for a secret when it has the cluster that names it: routes go out once it has that too."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    envoy.stream.retarget(snap({"entry": "b"}, {"b": "1"}, {"key": "1"}))
    envoy.pump()
    envoy.answer()
    assert envoy.inbox == []
    envoy.say(Incoming(SECRET, subscribe=("key",)))
    assert [r.type_url for r in envoy.inbox] == [SECRET]
    envoy.answer()
    assert [r.type_url for r in envoy.inbox] == [ROUTE]


def test_a_secret_that_envoy_never_asks_for_holds_nothing_up_for_long() -> None:
    """After the patience routes go out anyway, and later targets do not wait for it again."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}, {"key": "1"}))
    envoy.settle()
    assert envoy.stream.applied is not None
    envoy.stream.retarget(snap({"entry": "a+b"}, {"a": "1", "b": "1"}, {"key": "1"}))
    envoy.pump()
    envoy.answer()
    assert [r.type_url for r in envoy.inbox] == [ROUTE]


def test_a_rotated_secret_is_sent_to_who_asked_for_it() -> None:
    """A new version of a subscribed secret goes out by itself."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}, {"key": "1"}))
    envoy.say(Incoming(SECRET, subscribe=("key",)))
    envoy.settle()
    envoy.stream.retarget(snap({"entry": "a"}, {"a": "1"}, {"key": "2"}))
    envoy.pump()
    assert [(r.type_url, [n for n, _ in r.resources]) for r in envoy.inbox] == [(SECRET, ["key"])]


def test_a_refusal_names_what_was_refused_and_stops_until_the_next_target() -> None:
    """A NACK is reported with target and names; nothing more is sent for that target."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    target = snap({"entry": "a+b"}, {"a": "1", "b": "bad"})
    envoy.stream.retarget(target)
    envoy.pump()
    verdict = envoy.answer()
    assert verdict == Verdict(CLUSTER, target.version, "refused ['b']", frozenset({"b"}))
    assert envoy.inbox == []
    envoy.stream.retarget(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    assert envoy.has[CLUSTER] == {"a": "1"}


def test_an_outdated_nonce_says_nothing() -> None:
    """An answer to a response that is not under way is ignored, its subscriptions are not."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    assert envoy.say(Incoming(CLUSTER, nonce="999", error="late")) is None
    assert envoy.say(Incoming(ROUTE, nonce="998", subscribe=("entry",))) is None
    envoy.settle()
    assert envoy.has[ROUTE] == {"entry": "a"}


def test_a_reconnecting_envoy_that_has_everything_is_sent_nothing() -> None:
    """With the versions that Envoy brings along being current, no response goes out."""
    target = snap({"entry": "a"}, {"a": "1"})
    envoy = fresh(target)
    envoy.settle()
    again = Envoy(DeltaStream(TIMING), has=envoy.has)
    again.stream.retarget(target)
    again.connect()
    assert again.inbox == []
    assert again.stream.applied == target.version


def test_a_reconnecting_envoy_loses_what_is_there_no_more() -> None:
    """What Envoy brings along and the snapshot does not have is removed in the end."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1", "old": "1"}))
    envoy.settle()
    again = Envoy(DeltaStream(TIMING), has=envoy.has)
    again.stream.retarget(snap({"entry": "a"}, {"a": "1"}))
    again.connect()
    again.settle()
    assert again.has[CLUSTER] == {"a": "1"}


def test_an_empty_wildcard_is_answered_once() -> None:
    """Envoy starts up only after a first response, even an empty one."""
    envoy = fresh(snapshot({}))
    assert [(r.type_url, r.resources) for r in envoy.inbox] == [(CLUSTER, ())]
    envoy.answer()
    assert [(r.type_url, r.resources) for r in envoy.inbox] == [(LISTENER, ())]
    envoy.settle()
    envoy.pump()
    assert envoy.inbox == []


def test_a_name_that_is_not_there_is_said_to_be_absent_and_sent_when_it_comes() -> None:
    """An unknown name gets a removal at once and the resource later."""
    envoy = fresh(snap({}, {"a": "1"}))
    envoy.settle()
    envoy.say(Incoming(SECRET, subscribe=("key",)))
    assert [(r.type_url, r.removed) for r in envoy.inbox] == [(SECRET, ("key",))]
    envoy.answer()
    envoy.stream.retarget(snap({}, {"a": "1"}, {"key": "1"}))
    envoy.settle()
    assert envoy.has[SECRET] == {"key": "1"}


def test_who_asks_again_is_answered_again() -> None:
    """A second subscription means that the client dropped its copy."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    envoy.say(Incoming(ROUTE, subscribe=("entry",)))
    assert [r.type_url for r in envoy.inbox] == [ROUTE]


def test_nothing_is_sent_before_there_is_a_target() -> None:
    """A stream waits for the first snapshot."""
    assert fresh().inbox == []


def test_types_that_we_do_not_serve_are_ignored() -> None:
    """A subscription to another type is no error and gets no answer."""
    envoy = fresh(snap({"entry": "a"}, {"a": "1"}))
    envoy.settle()
    envoy.say(Incoming("type.googleapis.com/envoy.service.runtime.v3.Runtime", subscribe=("x",)))
    assert envoy.inbox == []


def test_routes_of_a_listener_that_an_envoy_lacks_are_not_waited_for() -> None:
    """An Envoy without a shadow listener has all once it has the entry's routes; one with it needs both."""
    target = snap({"entry": "a", "shadow": "a"}, {"a": "1"})
    without = fresh(target)
    without.settle()
    assert without.stream.applied == target.version
    assert "shadow" not in without.has[ROUTE]
    both = Envoy(DeltaStream(TIMING))
    both.stream.retarget(target)
    both.say(Incoming(CLUSTER))
    both.say(Incoming(ROUTE, subscribe=("shadow",)))
    both.settle()
    assert both.stream.applied is None
    both.say(Incoming(LISTENER))
    both.settle()
    assert both.stream.applied == target.version
    assert both.has[ROUTE].keys() == {"entry", "shadow"}
