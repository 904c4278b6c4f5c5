"""One Triton, one Envoy and two replay tiers for all tests here; each finds the tiers as new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import bundles as small
import shadow_stack
from pointsman.lab.triton import Triton
from pointsman.triton import bundle as bundles
from shadow_stack import Stack
from triton_kit import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: it needs the real Envoy and the real Triton."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.envoy)
            item.add_marker(pytest.mark.triton)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run them, a small classifier loaded: sums are for cheap, prose is for strong."""
    with Triton(tmp_path_factory.mktemp("triton")) as triton:
        server = Server(triton.http_url)
        server.load(small.file())
        server.http.close()
        with shadow_stack.run(
            tmp_path_factory.mktemp("shadow"), triton.http_url, bundles.sha256(small.file())
        ) as stack:
            yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    """Return them, everyone answering as usual."""
    running.models.reset()
    return running
