"""A real kube-apiserver with the generated CRDs in it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pointsman.api.crd import files
from pointsman.lab.controlplane import ControlPlane
from wait import until_sync

GROUP_PATH = "/apis/pointsman.dev/v1alpha1/namespaces/default"
CRDS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said; `warnings` as kubectl would print them."""

    status: int
    body: dict[str, Any]
    warnings: list[str]

    def causes(self) -> dict[str, str]:
        """Return the message of every refused field; a field with several gets them joined."""
        found: dict[str, list[str]] = {}
        for cause in self.body.get("details", {}).get("causes", []):
            field = cause.get("field", "").replace("<nil>", "")  # how the server writes the object itself
            found.setdefault(field, []).append(cause["message"])
        return {field: " | ".join(messages) for field, messages in found.items()}


class Api:
    """Raw requests to the API server, so that warnings and refusals can be read as they come."""

    def __init__(self, http: httpx.Client, installed: dict[str, Answer]) -> None:
        self._http = http
        self.installed = installed
        """What the server answered when each CRD was created."""

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Send one request."""
        answer = self._http.request(method, path, json=body, **more)
        return Answer(answer.status_code, answer.json(), answer.headers.get_list("warning"))

    def create(
        self, manifest: dict[str, Any], plural: str = "routingpolicies", *, dry_run: bool = True
    ) -> Answer:
        """Create an object as kubectl does: unknown fields are refused. By default only tried, not stored."""
        params = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.call("POST", f"{GROUP_PATH}/{plural}", manifest, params=params)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start etcd and kube-apiserver, nothing of ours in them."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    plane.start()
    try:
        for server in (plane.etcd, plane.apiserver):
            assert server.child is not None
            server.child.wait_ready()
        yield plane
    finally:
        plane.stop()


def client_of(plane: ControlPlane, user: str, groups: Sequence[str] = ()) -> httpx.Client:
    """Return a client that is `user` by its certificate."""
    tls = ssl.create_default_context(cafile=str(plane.authority.pair.cert))
    pair = plane.authority.leaf(user, user, groups=groups)
    tls.load_cert_chain(pair.cert, pair.key)
    return httpx.Client(base_url=f"https://{plane.address}", verify=tls, timeout=30)


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Iterator[Api]:
    """Create our CRDs and wait until they are served."""
    with client_of(plane, "crd-tests", ["system:masters"]) as http:
        found = Api(http, {})
        for name, text in files().items():
            found.installed[name] = found.call("POST", CRDS_PATH, yaml.safe_load(text))
        until_sync(lambda: _served(found), what="the CRDs are served")
        yield found


def _served(api: Api) -> bool:
    return all(
        api.call("GET", f"{GROUP_PATH}/{plural}").status == httpx.codes.OK
        for plural in ("routingpolicies", "routingpolicyrevisions", "rolloutactions")
    )


@pytest.fixture
def good() -> dict[str, dict[str, Any]]:
    """Return the good specs of `good/` by file name."""
    folder = Path(__file__).parent / "good"
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(folder.glob("*.yaml"))}
