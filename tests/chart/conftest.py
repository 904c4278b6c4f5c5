"""The real helm, and a real API server in which nothing but the chart of the kinds is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chart_kit import CRDS_CHART, OTHER, SYSTEM, Helm, foreign, served
from pointsman.lab import binaries
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from wait import until_sync

FOREIGN = (
    foreign("cert-manager.io", "Issuer", "issuers"),
    foreign("cert-manager.io", "Certificate", "certificates"),
    foreign("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    foreign("monitoring.coreos.com", "PodMonitor", "podmonitors"),
    foreign("monitoring.coreos.com", "PrometheusRule", "prometheusrules"),
)
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}
"""What parts ask for, each by its ServiceAccount."""


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Return helm, for what needs no cluster."""
    return Helm(binaries.ensure("helm"), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the API server writes what ServiceAccounts asked for."""
    log = tmp_path_factory.mktemp("audit") / "audit.log"
    log.touch()
    return log


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, audit_log: Path) -> Iterator[ControlPlane]:
    """Run etcd and an API server; the kinds of others are there, and the namespaces of the cases."""
    policy = audit_log.with_name("policy.json")
    policy.write_text(json.dumps(AUDIT), "utf-8")
    flags = (
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit_log}",
        # as on OpenShift: who sets an owner must be allowed to delete what is owned
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    )
    running = ControlPlane(tmp_path_factory.mktemp("plane"), flags=lambda _: flags)
    running.start()
    try:
        running.wait_serving()
        with Kubectl(running.kubeconfig) as kubectl:
            kubectl.apply(FOREIGN)
            for name, labels in ((SYSTEM, RESTRICTED), (OTHER, RESTRICTED), ("chat", {}), ("search", {})):
                kubectl.apply(
                    [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}]
                )
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def cluster(helm: Helm, plane: ControlPlane) -> Helm:
    """Return helm with that cluster, in which the chart of the kinds is installed."""
    found = Helm(helm.binary, helm.home, plane.kubeconfig)
    found("install", "pointsman-crds", CRDS_CHART, "--namespace", SYSTEM)
    kinds = [each for each in yaml.safe_load_all(found("template", CRDS_CHART)) if each]
    with Kubectl(plane.kubeconfig) as kubectl:
        until_sync(served(kubectl, [*FOREIGN, *kinds]), what="the kinds are served")
    return found


@pytest.fixture
def kubectl(cluster: Helm) -> Iterator[Kubectl]:
    """Return the administrator's client of that cluster."""
    assert cluster.kubeconfig is not None
    with Kubectl(Path(cluster.kubeconfig)) as client:
        yield client
