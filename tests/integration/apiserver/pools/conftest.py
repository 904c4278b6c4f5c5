"""A real API server for the session, a namespace for each test, an operator that may do everything in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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
    """Return a fresh namespace, cleared afterwards; it is the system namespace, too."""
    async with fresh(plane.kubeconfig, plane.kubeconfig) as found:
        yield found


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Start a Triton."""
    with Triton(Path(tmp_path_factory.mktemp("triton"))) as running:
        yield running
