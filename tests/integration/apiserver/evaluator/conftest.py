"""A real API server for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pointsman.lab.controlplane import ControlPlane


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running
