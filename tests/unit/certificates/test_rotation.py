"""Rotation: who signs when, and that at every moment any two parts trust each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pointsman import install
from pointsman.certificates.rotation import Plan, Scene, Terms, decide, renewal
from pointsman.certificates.secrets import Data, Held, Part, parts, read_leaf
from pointsman.certificates.x509s import read_certificates, read_pair

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms()
CA = install.CA_SECRET
PARTS = parts("pm", ["default"], ["gpu"])
XDS = install.certificate_secret(install.XDS)


@dataclass
class World:
    """Secrets, a clock, and an operator that may die after any write."""

    parts: tuple[Part, ...] = PARTS
    now: datetime = T0
    held: dict[str, Held] = field(default_factory=dict)
    history: dict[str, list[tuple[datetime, Data]]] = field(default_factory=dict)
    """What each Secret held, and from when on; of one that is gone, a part keeps the last."""

    def plan(self) -> Plan:
        """Return what the operator would do."""
        return decide(Scene(CA, self.held, self.parts, self.now, TERMS))

    def step(self, writes: int = 1000) -> int:
        """Let the operator do at most so many writes of its plan; return how many it did."""
        done = self.plan().writes[:writes]
        for write in done:
            self.held[write.secret] = Held(write.data, self.now)
            self.history.setdefault(write.secret, []).append((self.now, write.data))
        return len(done)

    def settle(self) -> None:
        """Let the operator work until nothing is left to do at this moment."""
        for _ in range(10):
            if not self.step():
                return
        raise AssertionError("never at rest")

    def lose(self, secret: str) -> None:
        """Delete a Secret."""
        self.held.pop(secret, None)

    def seen(self, part: Part) -> Iterator[Data]:
        """Yield everything that a part may go by now, if its reading is up to `settle` behind."""
        told = self.history.get(part.secret, [])
        for place, (_, data) in enumerate(told):
            ends = told[place + 1][0] if place + 1 < len(told) else None
            if ends is None or ends > self.now - TERMS.settle:
                yield data

    def strangers(self) -> list[str]:
        """Return the pairs of parts of which one would not be let in by the other."""
        shown = {(part.secret, data["tls.crt"]) for part in self.parts for data in self.seen(part)}
        trusting = {(part.secret, data["ca.crt"]) for part in self.parts for data in self.seen(part)}
        bad = {pair for pair in product({c for _, c in shown}, {a for _, a in trusting}) if self._out(*pair)}
        return [
            f"{client} at {server}, {self.now}"
            for (client, leaf), (server, authorities) in product(shown, trusting)
            if (leaf, authorities) in bad
        ]

    def _out(self, leaf: bytes, authorities: bytes) -> bool:
        begins, ends = _let_in(leaf, authorities)
        return not begins <= self.now < ends

    def signer(self) -> bytes:
        """Return the authority that signs."""
        return self.held[CA].data["tls.crt"]


@cache
def _let_in(leaf: bytes, authorities: bytes) -> tuple[datetime, datetime]:
    """Return from when until when a leaf is let in by who trusts these authorities."""
    (shown,) = read_certificates(leaf)
    signers = [one for one in read_certificates(authorities) if shown.signed_by(one)]
    return (T0, min(shown.ends, max(one.ends for one in signers))) if signers else (T0, T0)


def started() -> World:
    """Return an installation an hour after its first minute."""
    world = World()
    world.settle()
    world.now += TERMS.settle
    return world


def test_from_nothing_everybody_gets_a_certificate_in_one_go() -> None:
    """The authority is written first, then each part's Secret; then nothing is left to do."""
    world = World()
    plan = world.plan()
    assert [write.secret for write in plan.writes] == [CA, *(part.secret for part in PARTS)]
    world.settle()
    assert world.plan().writes == ()
    assert world.strangers() == []


def test_a_leaf_holds_the_names_of_its_service() -> None:
    """A gateway is known by its headless Service, in all the ways in which that is written."""
    world = started()
    gateway = next(part for part in PARTS if "gateway" in part.secret)
    leaf = read_leaf(world.held[gateway.secret].data, gateway)
    assert leaf.pair.certificate.names == {
        "pointsman-gateway-default-internal",
        "pointsman-gateway-default-internal.pm.svc",
        "pointsman-gateway-default-internal.pm.svc.cluster.local",
    }


def test_at_rest_nothing_is_written() -> None:
    """Until the first renewal is due the plan stays empty, and says when to look again."""
    world = started()
    due = world.plan().look_again
    world.now = due - timedelta(seconds=1)
    assert world.plan().writes == ()
    world.now = due + timedelta(seconds=1)
    assert len(world.plan().writes) == 1


def test_a_leaf_is_renewed_at_two_thirds_of_its_life_or_a_little_before() -> None:
    """Renewals lie in days 17 to 20 of 30, each Secret's at its own time."""
    world = started()
    times = {
        renewal(read_leaf(world.held[p.secret].data, p).pair.certificate, TERMS.renew, p.secret) - T0
        for p in PARTS
    }
    assert len(times) == len(PARTS)
    assert all(timedelta(days=17) <= time <= timedelta(days=20) for time in times)


def test_a_deleted_leaf_comes_back_by_the_same_authority() -> None:
    """The next look writes it anew, and nothing else."""
    world = started()
    before = world.signer()
    world.lose(XDS)
    assert [write.secret for write in world.plan().writes] == [XDS]
    world.settle()
    assert world.signer() == before
    assert world.strangers() == []


def test_garbled_secrets_are_healed() -> None:
    """Whatever is in one of our Secrets: at the next rest it holds a certificate again."""
    for key in ("tls.crt", "tls.key", "ca.crt"):
        for garbled in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\x00"):
            for secret in (CA, XDS):
                world = started()
                held = world.held[secret]
                world.held[secret] = Held({**held.data, key: garbled}, held.since)
                world.settle()
                world.now += TERMS.settle
                world.settle()
                world.now += TERMS.settle
                world.settle()
                assert world.strangers() == [], f"{secret} {key} {garbled!r}"
                assert world.plan().writes == ()


def test_the_key_of_another_certificate_is_healed() -> None:
    """A certificate whose key is not its own is of no use, and is made anew."""
    world = started()
    other = world.held[install.certificate_secret(install.OPERATOR)].data["tls.key"]
    world.held[XDS] = Held({**world.held[XDS].data, "tls.key": other}, T0)
    assert [(write.secret, write.why) for write in world.plan().writes] == [(XDS, "issued")]


def test_an_authority_is_trusted_before_it_signs_and_dropped_after_its_last_leaf() -> None:
    """Announced, an hour later it signs, an hour later the old one is gone."""
    world = started()
    old = world.signer()
    world.now = T0 + timedelta(days=244)
    for part in PARTS:  # their own renewals are not what this is about
        world.lose(part.secret)
    world.settle()
    new = world.signer()
    assert new != old
    assert all(world.held[part.secret].data["ca.crt"] == new + old for part in PARTS)
    assert all(_signed_by(world, part, old) for part in PARTS)
    world.now += TERMS.settle
    world.settle()
    assert all(_signed_by(world, part, new) for part in PARTS)
    assert all(world.held[part.secret].data["ca.crt"] == new + old for part in PARTS)
    world.now += TERMS.settle
    world.settle()
    assert all(world.held[part.secret].data["ca.crt"] == new for part in PARTS)
    assert set(world.held[CA].data) == {"tls.crt", "tls.key", "ca.crt"}


def test_a_lost_authority_is_followed_by_one_that_waits_until_it_is_trusted() -> None:
    """Leaves of the lost one stay, and it is trusted, until everybody knows its successor."""
    world = started()
    old = world.signer()
    world.lose(CA)
    world.settle()
    assert all(_signed_by(world, part, old) for part in PARTS)
    for _ in range(3):
        assert world.strangers() == []
        world.now += TERMS.settle
        world.settle()
    assert world.strangers() == []
    assert all(world.held[part.secret].data["ca.crt"] == world.signer() for part in PARTS)


def test_an_authority_that_a_single_leaf_brings_along_is_not_believed() -> None:
    """Who can write one part's Secret cannot make the others trust an authority of his own."""
    world, stranger = started(), started()
    world.held[XDS] = Held({**stranger.held[XDS].data}, T0)
    world.settle()
    assert all(world.held[part.secret].data["ca.crt"] == world.signer() for part in PARTS)
    assert world.strangers() == []


def test_keys_are_not_in_what_is_printed() -> None:
    """A plan, its writes and its pairs can be logged."""
    world = started()
    world.lose(XDS)
    plan = world.plan()
    assert "PRIVATE" not in repr(plan)
    assert "PRIVATE" not in repr(Scene(CA, world.held, PARTS, world.now))
    data = plan.writes[0].data
    assert "PRIVATE" not in repr(read_pair(data["tls.crt"], data["tls.key"]))


SUCCESSION = T0 + timedelta(days=365) * 2 / 3
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 60 * 24 * 9)),
        st.tuples(st.just("hours"), st.integers(1, 5)),
        st.tuples(st.just("die"), st.integers(0, 6)),
        st.tuples(st.just("lose"), st.sampled_from(PARTS)),
        st.tuples(st.just("lose authority"), st.none()),
        st.tuples(st.just("gone"), st.sampled_from(PARTS[3:])),
        st.tuples(st.just("come"), st.sampled_from(PARTS[3:])),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(events=EVENTS, hour=st.integers(-48, 48))
@example(events=[("wait", 120), ("lose authority", None)], hour=-1)
def test_any_two_parts_trust_each_other_at_every_moment(events: list[tuple[str, object]], hour: int) -> None:
    """Whatever is deleted, whenever the operator dies: nobody is locked out, each up to an hour behind.

    One thing is left out: a Secret and the authority's, lost in the same hour, leave nobody to sign.
    """
    world = World()
    world.settle()
    world.now = SUCCESSION + timedelta(hours=hour)
    world.parts = ()  # the months before are not what this is about
    world.settle()
    world.history.clear()
    for part in PARTS:
        world.lose(part.secret)
    world.parts = PARTS
    world.settle()
    for what, value in events:
        match what, value:
            case "wait" | "hours", int(number):
                _run(world, world.now + timedelta(**{"minutes" if what == "wait" else "hours": number}))
            case "die", int(number):
                world.step(number)
            case "lose", Part(secret=secret):
                world.lose(secret)
                world.settle()
            case "lose authority", _:
                world.lose(CA)
            case "gone", Part() as part:
                world.parts = tuple(p for p in world.parts if p != part)
            case "come", Part() as part if part not in world.parts and _calm(world):
                world.lose(part.secret)
                world.history.pop(part.secret, None)
                world.parts = (*world.parts, part)
                world.settle()
        if what == "lose authority":
            world.settle()
            _run(world, world.now + 3 * TERMS.settle)
        assert world.strangers() == []


def _calm(world: World) -> bool:
    return CA in world.held


def _run(world: World, end: datetime) -> None:
    """Let time pass, with an operator that looks when it said it would."""
    while world.now < end:
        world.settle()
        assert world.strangers() == []
        world.now = min(end, max(world.plan().look_again, world.now + timedelta(minutes=1)))
    world.settle()


def _signed_by(world: World, part: Part, authority: bytes) -> bool:
    leaf = read_leaf(world.held[part.secret].data, part)
    return leaf.pair.certificate.signed_by(read_certificates(authority)[0])
