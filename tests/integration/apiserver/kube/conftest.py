"""A real API server for each module: these tests end it and start it again."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from pointsman.kube.client import KubeClient
from pointsman.kube.resources import NAMESPACES
from pointsman.lab.controlplane import ControlPlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """Return the administrator's client."""
    async with await KubeClient.open(str(plane.kubeconfig)) as opened:
        yield opened


@pytest.fixture
async def namespace(client: KubeClient) -> str:
    """Return the name of a new namespace."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name
