"""A real API server whose controllers move Deployments; a system namespace for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from infrastructure_kit import System
from pointsman.kube.client import KubeClient
from pointsman.lab.cluster.controllers import Controllers
from pointsman.lab.controlplane import ControlPlane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def moving(plane: ControlPlane) -> Iterator[Controllers]:
    """Start controller manager, scheduler, and a node whose pods pretend."""
    with Controllers(plane, nodes=1, gpus=0) as running:
        yield running


@pytest.fixture
async def system(plane: ControlPlane) -> AsyncIterator[System]:
    """Return a fresh system namespace, Pod Security restricted, with the operator's rights there."""
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        found = System(admin, str(plane.kubeconfig_of("operator")))
        await found.make()
        yield found
        await found.clear()
