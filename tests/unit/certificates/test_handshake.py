"""Certificates in use: parts shake hands by mutual TLS, through every stage of a rotation."""

from __future__ import annotations

import ssl
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from pointsman.certificates.rotation import Scene, Terms, decide
from pointsman.certificates.secrets import Data, Held, Part, parts
from pointsman.clock import system_clock

CLIENT, SERVER = parts("pm", [], [])[:2]


def context(folder: Path, data: Data, *, server: bool) -> ssl.SSLContext:
    """Return mutual TLS with the files of a mounted Secret."""
    folder.mkdir()
    for name, value in data.items():
        (folder / name).write_bytes(value)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_verify_locations(folder / "ca.crt")
    made.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return made


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Shake hands in memory; `SSLError` if one side does not let the other in."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
        if not sides:
            return
    raise AssertionError("the handshake never ended")


def stages() -> list[dict[str, Data]]:
    """Return the Secrets by name before, while and after an authority is followed by another."""
    held: dict[str, Held] = {}
    terms, found = Terms(), []
    # so long ago that the first authority is due for a successor by now
    start = system_clock() - terms.authority * terms.renew - timedelta(hours=1)
    for now in (start, system_clock() - 2 * terms.settle, system_clock() - terms.settle, system_clock()):
        for _ in range(3):
            for write in decide(Scene("ca", held, (CLIENT, SERVER), now, terms)).writes:
                held[write.secret] = Held(write.data, now)
        found.append({name: dict(one.data) for name, one in held.items()})
    return found[1:]


def test_parts_of_neighbouring_stages_let_each_other_in(tmp_path: Path) -> None:
    """One has read its files, the other not yet: both ways, OpenSSL's strict rules included."""
    seen = stages()
    assert len({stage["ca"]["ca.crt"] for stage in seen}) > 1
    for earlier, later in pairwise(seen):
        for mine, theirs in ((earlier, later), (later, earlier), (later, later)):
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            client = context(folder / "client", mine[CLIENT.secret], server=False)
            server = context(folder / "server", theirs[SERVER.secret], server=True)
            shake_hands(client, server, SERVER.names[0])


def test_a_stranger_is_not_let_in(tmp_path: Path) -> None:
    """A part of another installation is refused, and so is a part that shows another's name."""
    own, other = stages()[-1], stages()[-1]
    client = context(tmp_path / "stranger", other[CLIENT.secret], server=False)
    server = context(tmp_path / "server", own[SERVER.secret], server=True)
    with pytest.raises(ssl.SSLError):
        shake_hands(client, server, SERVER.names[0])
    wrong: Part = CLIENT
    client = context(tmp_path / "client", own[CLIENT.secret], server=False)
    with pytest.raises(ssl.SSLError):
        shake_hands(client, server, wrong.names[0])
