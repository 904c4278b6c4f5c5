"""One Envoy for all routing tests; every test finds its servers as new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import envoy_rig
from envoy_rig import Rig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: it needs the real Envoy."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.envoy)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run Envoy and the servers around it."""
    with envoy_rig.run(tmp_path_factory.mktemp("routing")) as rig:
        yield rig


@pytest.fixture
def rig(running: Rig) -> Rig:
    """Return the rig, everyone answering as usual."""
    running.reset()
    return running


@pytest.fixture(scope="session")
def running_short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run an Envoy whose cheap tier can be reached the short way."""
    with envoy_rig.run(tmp_path_factory.mktemp("short"), envoy_rig.SHORT_PATH) as rig:
        yield rig


@pytest.fixture
def short(running_short: Rig) -> Rig:
    """Return the rig with the short way, everyone answering as usual."""
    running_short.reset()
    return running_short
