"""One real node for the whole session, only where it was asked for: `make e2e-cluster`, or this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_kit import World
from pointsman.lab.cluster import machine
from pointsman.lab.cluster.cluster import Cluster
from pointsman.lab.cluster.sweep import remains
from pointsman.lab.images.catalog import OURS

HERE = Path(__file__).parent
FIRST = "test_leaves_nothing.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a real node where there can be none or none was asked for, and say why."""
    asked = any(HERE.name in Path(arg.partition("::")[0]).parts for arg in config.invocation_params.args)
    reason = machine.problem() if asked else "a real node changes the machine: `make e2e-cluster` runs these"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))  # the first one waits for node and images
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
    # A machine has room for one node, and this file starts its own.
    items.sort(key=lambda item: item.path != HERE / FIRST)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a node with CoreDNS, metrics-server and all images of ours; nothing of it is left afterwards."""
    state = tmp_path_factory.mktemp("cluster")
    with Cluster(state, images=OURS, gpus=8, metrics=True, say=print) as running:
        world = World(running)
        with contextlib.closing(world.kube):
            yield world
    assert remains(state) == []
