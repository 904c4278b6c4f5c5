"""What each certificate Secret shall hold, by what they hold now and the time. Pure but for new keys.

At every moment any two parts trust each other, each as it was up to `Terms.settle` ago:
- a new authority is announced: every Secret holds it beside the old one, which goes on signing;
- once the last of them has held it for `settle`, it signs, and every leaf is made anew;
- once no leaf of the old one has been in any Secret for `settle`, the old one is trusted no more.

Nothing is remembered: where we are is read from the Secrets, so a process may end between any two writes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec

from pointsman.certificates import secrets
from pointsman.certificates.secrets import Data, Held, Leaf, Part, bundle, read_leaf
from pointsman.certificates.x509s import (
    SKEW,
    Certificate,
    Pair,
    UnreadableError,
    new_authority,
    new_key,
    new_leaf,
    read_certificates,
    read_pair,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pointsman.certificates.x509s import Keys

_JITTER: Final = 0.1
"""Share of a leaf's life by which parts differ, so that they are not all renewed in one minute."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things are valid, and when they are renewed."""

    authority: timedelta = timedelta(days=365)
    leaf: timedelta = timedelta(days=30)
    renew: float = 2 / 3
    """Share of its life after which a certificate is renewed."""
    settle: timedelta = timedelta(hours=1)
    """How far behind a part may be in reading its files; kubelet takes a minute or two."""


@dataclass(frozen=True, slots=True)
class Write:
    """What a Secret shall hold from now on, and why."""

    secret: str
    data: Data = field(repr=False)
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes, in this order: none may be done before those that precede it."""

    writes: tuple[Write, ...]
    look_again: datetime
    ends: Mapping[str, datetime]
    """By Secret: when its certificate ends."""


@dataclass(frozen=True, slots=True)
class Authorities:
    """Who signs, and whom everybody trusts."""

    newest: Pair
    previous: Pair | None
    trusted: tuple[Certificate, ...]
    """The newest first."""

    @property
    def alone(self) -> bool:
        """Whether the newest is the only one."""
        return len(self.trusted) == 1

    def data(self) -> Data:
        """Return what the authority's Secret shall hold."""
        found = {
            secrets.CERTIFICATE: self.newest.certificate.pem,
            secrets.KEY: self.newest.key_pem,
            secrets.AUTHORITIES: bundle(self.trusted),
        }
        if self.previous is not None:
            found[secrets.PREVIOUS_CERTIFICATE] = self.previous.certificate.pem
            found[secrets.PREVIOUS_KEY] = self.previous.key_pem
        return found


@dataclass(frozen=True, slots=True)
class Scene:
    """What is so: the Secrets (by name) and the time; and what is agreed."""

    authority: str
    """Name of the authority's own Secret."""
    held: Mapping[str, Held]
    parts: Sequence[Part]
    now: datetime
    terms: Terms = field(default_factory=Terms)
    keys: Keys = new_key

    def leaves(self) -> dict[str, Leaf | None]:
        """Return each part's leaf by its Secret; None: it has none that is of use."""
        return {part.secret: _leaf(self.held.get(part.secret), part, self.now) for part in self.parts}

    def settled(self, secret: str) -> bool:
        """Tell whether the part has read by now what its Secret holds."""
        since = self.held[secret].since
        return since is not None and since + self.terms.settle <= self.now

    def everywhere(self, newest: Certificate, leaves: Mapping[str, Leaf | None]) -> bool:
        """Tell whether every part trusts an authority by now."""
        return all(
            leaf is not None and newest in leaf.trusted and self.settled(secret)
            for secret, leaf in leaves.items()
        )


def decide(scene: Scene) -> Plan:
    """Return what shall be written now."""
    held, now, share = scene.held, scene.now, scene.terms.renew
    leaves = scene.leaves()
    known = _known(held.get(scene.authority), now)
    found = _without_needless(_succession(known, leaves, scene), leaves, scene)
    signing = _signing(found, leaves, scene)
    ends = {scene.authority: found.newest.certificate.ends}
    looks = [renewal(found.newest.certificate, share)]
    kept = held.get(scene.authority)
    writes = []
    if kept is None or dict(kept.data) != found.data():
        writes.append(Write(scene.authority, found.data(), _why(known, found)))
    for part in scene.parts:
        pair, why = _wanted(part, leaves[part.secret], found, signing, scene)
        ends[part.secret] = pair.certificate.ends
        looks.append(renewal(pair.certificate, share, part.secret))
        write = _write(part, held.get(part.secret), _data(pair, found), why, now)
        if write is not None:
            writes.append(write)
    if not found.alone:
        looks += [one.since + scene.terms.settle for one in held.values() if one.since]
    return Plan(tuple(writes), min((t for t in looks if t > now), default=now + scene.terms.settle), ends)


def renewal(certificate: Certificate, share: float, secret: str = "") -> datetime:
    """Return when a certificate is renewed; leaves of different Secrets at different times."""
    number = int.from_bytes(hashlib.sha256(secret.encode()).digest()[:4]) / 2**32 if secret else 0.0
    life = certificate.ends - certificate.made
    return certificate.made + life * (share - _JITTER * number)


# -- the authority ---------------------------------------------------------------------------------------


def _known(held: Held | None, now: datetime) -> Authorities | None:
    """Return what the authority's Secret holds; None: no authority that is valid."""
    if held is None:
        return None
    newest = _authority(held.data, secrets.CERTIFICATE, secrets.KEY, now)
    if newest is None:
        return None
    previous = _authority(held.data, secrets.PREVIOUS_CERTIFICATE, secrets.PREVIOUS_KEY, now)
    others = [*([previous.certificate] if previous else []), *_readable(held.data)]
    return Authorities(newest, previous, _trusted(newest.certificate, others, now))


def _authority(data: Mapping[str, bytes], certificate: str, key: str, now: datetime) -> Pair | None:
    try:
        pair = read_pair(data.get(certificate, b""), data.get(key, b""))
    except UnreadableError:
        return None
    usable = pair.certificate.is_authority and pair.certificate.valid(now)
    return pair if usable and isinstance(pair.key, ec.EllipticCurvePrivateKey) else None


def _readable(data: Mapping[str, bytes]) -> tuple[Certificate, ...]:
    try:
        return read_certificates(data.get(secrets.AUTHORITIES, b""))
    except UnreadableError:
        return ()


def _trusted(newest: Certificate, others: Sequence[Certificate], now: datetime) -> tuple[Certificate, ...]:
    """Return the newest and, once each, the others that are still valid, in a fixed order."""
    older = {other for other in others if other != newest and other.valid(now) and other.is_authority}
    return (newest, *sorted(older, key=lambda c: (c.ends, c.pem), reverse=True))


def _succession(known: Authorities | None, leaves: Mapping[str, Leaf | None], scene: Scene) -> Authorities:
    """Return the authorities, with a new one where there is none or where the newest grows old."""
    now, terms = scene.now, scene.terms
    if known is None:
        # Lost with its key. Whoever has a leaf of it goes on with that, and must be trusted meanwhile;
        # so must who is behind, and shows a leaf of the authority before that.
        before = [authority for leaf in leaves.values() if leaf for authority in leaf.trusted]
        newest = new_authority(now, terms.authority, scene.keys)
        return Authorities(newest, None, _trusted(newest.certificate, before, now))
    if known.alone and now >= renewal(known.newest.certificate, terms.renew):
        newest = new_authority(now, terms.authority, scene.keys)
        return Authorities(newest, known.newest, _trusted(newest.certificate, known.trusted, now))
    return known


def _without_needless(found: Authorities, leaves: Mapping[str, Leaf | None], scene: Scene) -> Authorities:
    """Return the authorities without those of which no leaf is in use any more."""
    newest = found.newest.certificate
    if found.alone or not scene.everywhere(newest, leaves):
        return found
    if any(leaf is None or not _signed(leaf, newest) for leaf in leaves.values()):
        return found
    return Authorities(found.newest, None, (newest,))


def _signing(found: Authorities, leaves: Mapping[str, Leaf | None], scene: Scene) -> Pair | None:
    """Return whose new leaves everybody trusts already; None: nobody's are."""
    if found.alone or scene.everywhere(found.newest.certificate, leaves):
        return found.newest
    if found.previous is not None and found.previous.certificate.ends - scene.now > 2 * scene.terms.settle:
        return found.previous
    return None


# -- leaves ----------------------------------------------------------------------------------------------


def _leaf(held: Held | None, part: Part, now: datetime) -> Leaf | None:
    """Return a part's leaf; None: it has none that is of use."""
    try:
        leaf = read_leaf(held.data, part) if held is not None else None
    except UnreadableError:
        return None
    usable = leaf is not None and leaf.pair.certificate.valid(now)
    return leaf if usable and leaf is not None and set(part.names) == leaf.pair.certificate.names else None


def _signed(leaf: Leaf, authority: Certificate) -> bool:
    return leaf.pair.certificate.signed_by(authority)


def _wanted(
    part: Part, leaf: Leaf | None, found: Authorities, signing: Pair | None, scene: Scene
) -> tuple[Pair, str]:
    """Return the leaf that a part shall have, and why it is another one ("" where it is not)."""
    now, terms = scene.now, scene.terms
    if leaf is None or not any(_signed(leaf, authority) for authority in found.trusted):
        return new_leaf(signing or found.newest, part.names, now, terms.leaf, scene.keys), "issued"
    if signing is None:
        return leaf.pair, ""
    why = ""
    if now >= renewal(leaf.pair.certificate, terms.renew, part.secret):
        why = "renewed"
    elif signing is found.newest and not _signed(leaf, found.newest.certificate):
        why = "issued by the new authority"
    return (new_leaf(signing, part.names, now, terms.leaf, scene.keys), why) if why else (leaf.pair, "")


def _data(pair: Pair, found: Authorities) -> Data:
    return {
        secrets.CERTIFICATE: pair.certificate.pem,
        secrets.KEY: pair.key_pem,
        secrets.AUTHORITIES: bundle(found.trusted),
    }


def _write(part: Part, held: Held | None, data: Data, why: str, now: datetime) -> Write | None:
    if held is None or dict(held.data) != data:
        return Write(part.secret, data, why or "trusted authorities changed")
    if held.since is None or held.since > now + SKEW:
        return Write(part.secret, data, "nobody knew since when it was so")
    return None


def _why(known: Authorities | None, found: Authorities) -> str:
    if known is None:
        return "authority made"
    if known.newest.certificate != found.newest.certificate:
        return "new authority announced"
    return "authorities that nobody needs any more dropped" if known.trusted != found.trusted else "healed"
