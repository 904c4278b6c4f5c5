"""A real API server for the module; a gateway of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from envoy_kit.servers import Server, chat_answer
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import NAMESPACES, POLICIES
from pointsman.lab.controlplane import ControlPlane
from xds_world import World


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, with CRDs and roles."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
async def world(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[World]:
    """Return a gateway of its own, with an upstream that runs; xds and Envoy are the test's to start."""
    upstream = Server(chat_answer("m"))
    await upstream.start()
    async with await KubeClient.open(str(plane.kubeconfig)) as admin:
        made = World(plane, admin, upstream, tmp_path)
        await admin.create(NAMESPACES, {"metadata": {"name": made.namespace}})
        yield made
        await admin.delete(NAMESPACES, made.namespace)
        for policy in (await admin.list(POLICIES, made.namespace)).items:
            await admin.delete(POLICIES, policy["metadata"]["name"], made.namespace)
    await upstream.stop()
