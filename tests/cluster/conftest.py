"""One real node for the whole session, only where it was asked for: `make e2e-cluster`, or this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_kit import World
from installed_kit import FIRST, Installed, settle
from pointsman.lab.cluster import machine
from pointsman.lab.cluster.cluster import Cluster
from pointsman.lab.cluster.sweep import remains
from pointsman.lab.demo.acts import EXAMPLE
from pointsman.lab.images.catalog import OURS

HERE = Path(__file__).parent
ORDER = (
    "test_leaves_nothing.py",  # starts nodes of its own, and a machine has room for one
    "test_node.py",
    "test_install.py",
    "test_chaos_pods.py",
    "test_chaos_stores.py",
    "test_chaos_control_plane.py",
    "test_release.py",  # ends with the uninstallation
)
VOLUME_MIB = 512


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
    place = {HERE / name: number for number, name in enumerate(ORDER, start=1)}
    items.sort(key=lambda item: place.get(item.path, 0))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a node with CoreDNS, metrics-server and all images of ours; nothing of it is left afterwards."""
    state = tmp_path_factory.mktemp("cluster")
    with Cluster(state, images=OURS, gpus=8, metrics=True, volume_mib=VOLUME_MIB, say=print) as running:
        world = World(running)
        with contextlib.closing(world.kube):
            yield world
    assert remains(state) == []


@pytest.fixture(scope="session")
def installed(cluster: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Install both charts and the tiers; send requests for as long as the tests run."""
    found = settle(cluster, tmp_path_factory.mktemp("release"))
    found.stage.apply(EXAMPLE / FIRST)
    found.stage.wait_served()
    with found.traffic():
        yield found
