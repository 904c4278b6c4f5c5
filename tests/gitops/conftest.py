"""A real API server with our kinds and rights, a Prometheus with counts of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from evidence_kit import Exporter, target
from operator_kit import Cluster, fresh
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.prometheus import Prometheus


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs, roles and the admission policy."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """Return a fresh namespace, cleared afterwards."""
    async with fresh(plane.kubeconfig, plane.kubeconfig_of("operator")) as found:
        yield found


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Return the test's own counts."""
    with Exporter() as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that scrapes them every second."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"evaluator": target(exporter)}) as running:
        yield running.url
