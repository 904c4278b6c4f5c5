"""The parts as the chart starts them, with its arguments and no right but its own, on a real API server."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from chart_kit import Helm, Object, pods
from pointsman import install
from pointsman.cli.selftest import Plan, policy
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LOCALHOST, LabError, Server, Spec, free_port
from wait import until_sync

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

HTTP = {
    install.OPERATOR: install.OPERATOR_HTTP,
    install.XDS: install.XDS_HTTP,
    install.EVALUATOR: install.EVALUATOR_HTTP,
}
KINDS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "RoutingGateway"}
KINDS |= {"TritonPool", "Service"}
CHAT = "chat"


@dataclass
class Installation:
    """A chart's objects, but for workloads: those run here, as processes."""

    plane: ControlPlane
    kubectl: Kubectl
    objects: list[Object]
    namespace: str
    folder: Path
    ports: dict[int, int] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[str]:
        """Run a part as its container would be; yield the address of its HTTP port once it is ready."""
        (self.folder / name).mkdir(exist_ok=True)  # the volume, whether or not there is anything in it
        (container,) = dict(pods(self.objects))[name]["spec"]["containers"]
        arguments = [self._here(argument, name) for argument in container["args"]]
        command = [sys.executable, "-m", "pointsman", arguments[0], "--kubeconfig", str(self._account(name))]
        address = f"{LOCALHOST}:{self.ports[HTTP[name]]}"
        log = self.folder / f"{name}.log"
        server = Server(
            Spec(name, command + arguments[1:], log, address, lambda: http_ok(address, "/readyz"))
        )
        server.start()
        try:
            until_sync(lambda: http_ok(address, "/readyz"), deadline_s=60, what=f"{name} is ready")
            yield address
        finally:
            server.stop()

    def _here(self, argument: str, part: str) -> str:
        """Return an argument with this machine's ports and folders in it."""
        flag, _, value = argument.replace("$(POD_NAMESPACE)", self.namespace).partition("=")
        if value.startswith("0.0.0.0:"):
            port = int(value.rpartition(":")[2])
            value = f"{LOCALHOST}:{self.ports.setdefault(port, free_port())}"
        elif value == install.CERTIFICATES:
            value = str(self.folder / part)
        elif value.startswith("/var/lib/"):
            value = str(self.folder / Path(value).name)
        return f"{flag}={value}" if value else flag

    def _account(self, name: str) -> Path:
        """Return a kubeconfig with a token of the part's ServiceAccount."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        token = self.kubectl._call("POST", path, json={"spec": {"expirationSeconds": 3600}})
        config = json.loads(self.plane.kubeconfig.read_text("utf-8"))
        config["users"][0]["user"] = {"token": token["status"]["token"]}
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(json.dumps(config), "utf-8")
        return file

    def get(self, path: str) -> Any:
        """Return what is at a path, None if nothing is."""
        try:
            return self.kubectl.get(path)
        except LabError:
            return None

    def mount(self, part: str) -> None:
        """Wait for a part's certificate and put it where the part looks, as the kubelet does."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{install.certificate_secret(part)}"
        secret = until_sync(lambda: self.get(path), deadline_s=30, what=f"the certificate of {part}")
        folder = self.folder / part
        folder.mkdir(exist_ok=True)
        for name, content in secret["data"].items():
            (folder / name).write_bytes(base64.b64decode(content))


@pytest.fixture(params=["everywhere", "namespaced"])
def installation(
    request: pytest.FixtureRequest, helm: Helm, plane: ControlPlane, kubectl: Kubectl, tmp_path: Path
) -> Iterator[Installation]:
    """Return an installation in a namespace of its own, for all namespaces or for one."""
    values = {"rbac": {"namespaces": [CHAT]}} if request.param == "namespaced" else {}
    namespace = f"parts-{request.param}"
    text = helm.render(values)
    objects: list[Object] = json.loads(json.dumps(text).replace("pointsman-system", namespace))
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    wanted = [each for each in objects if each["kind"] in KINDS]
    kubectl.apply(wanted)
    yield Installation(plane, kubectl, objects, namespace, tmp_path)
    for each in wanted:
        kubectl.delete(each)


def refused(address: str) -> list[str]:
    """Return the requests that the API server refused a part for want of a right."""
    lines = httpx.get(f"http://{address}/metrics").text.splitlines()
    return [line for line in lines if line.startswith("pointsman_kube_requests_total") and '"403"' in line]


def test_the_rights_of_the_chart_are_enough(installation: Installation) -> None:
    """Gateway and pool are made, all parts get ready, a policy is taken; nobody is refused anything."""
    made = {
        f"/apis/apps/v1/namespaces/{installation.namespace}/deployments/{name}"
        for name in (install.gateway_name("default"), install.pool_name("default"))
    }
    with installation.part(install.OPERATOR) as operator:
        for path in sorted(made):
            until_sync(lambda path=path: installation.get(path), deadline_s=60, what=path)  # type: ignore[misc]
        for part in (install.XDS, install.EVALUATOR):
            installation.mount(part)
        with installation.part(install.XDS) as xds, installation.part(install.EVALUATOR) as evaluator:
            wanted = policy(Plan(CHAT, "default", "", "", "http://10.0.0.1:8080/v1", 60))
            installation.kubectl.apply([wanted])
            path = f"/apis/pointsman.dev/v1alpha1/namespaces/{CHAT}/routingpolicies/pointsman-selftest"

            def revision() -> str | None:
                status: dict[str, Any] = installation.kubectl.get(path).get("status", {})
                return status.get("stableRevision")

            until_sync(revision, deadline_s=60, what="the policy's revision is in force")
            installation.kubectl.delete(wanted)
            assert {address: refused(address) for address in (operator, xds, evaluator)} == {
                operator: [],
                xds: [],
                evaluator: [],
            }
