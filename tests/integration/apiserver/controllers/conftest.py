"""A real API server for the session, real Tritons for the module, a namespace for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from operator_kit import Cluster, fresh
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.triton import Triton


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """Return a fresh namespace, cleared afterwards."""
    async with fresh(plane.kubeconfig, plane.kubeconfig_of("operator")) as found:
        yield found


@pytest.fixture(scope="module")
def tritons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Triton]]:
    """Start two Tritons."""
    with (
        Triton(tmp_path_factory.mktemp("triton-0")) as first,
        Triton(tmp_path_factory.mktemp("triton-1")) as second,
    ):
        yield [first, second]
