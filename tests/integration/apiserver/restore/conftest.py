"""A real API server for each test here: its etcd is put back to an older state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pointsman.kube.client import KubeClient
from pointsman.lab.controlplane import ControlPlane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path / "plane") as running:
        yield running


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """Return the administrator's client."""
    async with await KubeClient.open(str(plane.kubeconfig)) as opened:
        yield opened
