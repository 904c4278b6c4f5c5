"""What the lab's user would do with kubectl: apply manifests (server-side), read objects. Synchronous."""

from __future__ import annotations

import base64
import contextlib
import ssl
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml

from pointsman.lab.process import LabError

_DEADLINE_S: Final = 30.0
_ATTEMPTS: Final = 3
_BUSY_S: Final = 10.0
_AGAIN_S: Final = 0.2


class Kubectl:
    """A client of one API server, by a kubeconfig with a client certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text("utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        transport = httpx.HTTPTransport(verify=_tls(cluster, user), retries=_ATTEMPTS)
        self._http = httpx.Client(base_url=cluster["server"], transport=transport, timeout=_DEADLINE_S)
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def apply(self, manifests: Iterable[Mapping[str, Any]], namespace: str = "default") -> None:
        """Create or change objects by server-side apply; `namespace` is for those that name none."""
        for manifest in manifests:
            self._call(
                "PATCH",
                self._path(manifest, namespace),
                params={"fieldManager": "pointsman-lab", "force": "true"},
                headers={"content-type": "application/apply-patch+yaml"},
                # YAML contains JSON, and JSON leaves no doubt about types.
                json=dict(manifest),
            )

    def delete(self, manifest: Mapping[str, Any], namespace: str = "default") -> None:
        """Delete an object."""
        self._call("DELETE", self._path(manifest, namespace))

    def patch(self, path: str, change: Mapping[str, Any]) -> Any:
        """Change an object, or a subresource of it, by JSON merge patch (RFC 7386)."""
        headers = {"content-type": "application/merge-patch+json"}
        return self._call("PATCH", path, headers=headers, json=dict(change))

    def get(self, path: str) -> Any:
        """GET an API path, for instance /apis/pointsman.dev/v1alpha1/routingpolicies; return decoded JSON."""
        return self._call("GET", path)

    def _path(self, manifest: Mapping[str, Any], namespace: str) -> str:
        plural, namespaced = self._resource(manifest["apiVersion"], manifest["kind"])
        base = _group_path(manifest["apiVersion"])
        inside = f"/namespaces/{manifest['metadata'].get('namespace', namespace)}" if namespaced else ""
        return f"{base}{inside}/{plural}/{manifest['metadata']['name']}"

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        """Return plural and whether namespaced, from the server's own discovery."""
        if (api_version, kind) not in self._kinds:
            for found in self._call("GET", _group_path(api_version))["resources"]:
                if "/" not in found["name"]:
                    self._kinds[api_version, found["kind"]] = (found["name"], found["namespaced"])
        try:
            return self._kinds[api_version, kind]
        except KeyError:
            raise LabError(
                f"the API server has no kind {kind} in {api_version}; apply its CRD first"
            ) from None

    def _call(self, method: str, path: str, **more: Any) -> Any:
        end = time.monotonic() + _BUSY_S
        while True:
            try:
                answer = self._http.request(method, path, **more)
            except httpx.HTTPError as error:
                raise LabError(f"{method} {path}: the API server gives no answer: {error}") from error
            # Nothing was done: it is busy, or has just learnt of a new kind. kubectl tries again, too.
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or time.monotonic() > end:
                break
            time.sleep(_AGAIN_S)
        if answer.is_error:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                raise LabError(f"{method} {path}: {answer.status_code}: {answer.json()['message']}")
            raise LabError(f"{method} {path}: {answer.status_code}: {answer.text[:500]}")
        return answer.json()


def load_manifests(path: Path) -> list[dict[str, Any]]:
    """Read all objects of a YAML file, or of all YAML files directly in a folder."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [found for file in files for found in yaml.safe_load_all(file.read_text("utf-8")) if found]


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _tls(cluster: Mapping[str, str], user: Mapping[str, str]) -> ssl.SSLContext:
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    # Python loads client certificates from files only.
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(user["client-certificate-data"]))
        pair.write(base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context
