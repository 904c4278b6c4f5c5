"""A chart's objects on an API server, its parts as processes here: with its arguments and ServiceAccounts."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from chart_kit import Object, pods
from pointsman import install
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError, Server, Spec, free_port
from slices_kit import own_ip
from wait import until_sync

HTTP = {
    install.OPERATOR: install.OPERATOR_HTTP,
    install.XDS: install.XDS_HTTP,
    install.EVALUATOR: install.EVALUATOR_HTTP,
}


@dataclass
class Installation:
    """A chart's objects, but for workloads: those run here, as processes."""

    plane: ControlPlane
    kubectl: Kubectl
    objects: list[Object]
    namespace: str
    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    running: dict[str, Server] = field(default_factory=dict)

    def start(self, part: str) -> None:
        """Start a part as its container would be; does not wait."""
        (self.folder / part).mkdir(exist_ok=True)  # the volume, whether or not there is anything in it
        (container,) = dict(pods(self.objects))[part]["spec"]["containers"]
        arguments = [self._here(argument, part) for argument in container["args"]]
        command = [sys.executable, "-m", "pointsman", arguments[0], "--kubeconfig", str(self._account(part))]
        address = self.address(part)
        log = self.folder / f"{part}.log"
        server = Server(
            Spec(part, command + arguments[1:], log, address, lambda: http_ok(address, "/readyz"))
        )
        server.start()
        self.running[part] = server

    def keep_running(self) -> None:
        """Start again what has ended, as the kubelet does."""
        for part, server in list(self.running.items()):
            if server.child is not None and server.child.exit_code() is not None:
                self.start(part)

    def restart(self, part: str) -> None:
        """`kill -9` a part and start it again."""
        child = self.running[part].child
        assert child is not None
        child.kill()
        self.start(part)

    def stop(self) -> None:
        """End all parts."""
        for server in self.running.values():
            server.stop()
        self.running.clear()

    def ready(self, part: str) -> bool:
        """Tell whether a part says that it is."""
        return http_ok(self.address(part), "/readyz")

    def address(self, part: str, port: int | None = None) -> str:
        """Return where a part listens: for /readyz and /metrics, or for what has this port in its pod."""
        number = self.ports.setdefault(port or HTTP[part], free_port())
        return f"{own_ip()}:{number}"

    def text(self, part: str, path: str = "/metrics") -> str:
        """Return what a part answers; "" if it does not."""
        try:
            return httpx.get(f"http://{self.address(part)}{path}", timeout=10).text
        except httpx.HTTPError:
            return ""

    def get(self, path: str) -> Any:
        """Return what is at a path of the API server, None if nothing is."""
        try:
            return self.kubectl.get(path)
        except LabError:
            return None

    def mount(self, part: str) -> bool:
        """Put a part's certificate where the part looks, as the kubelet does; False: there is none yet."""
        name = install.certificate_secret(part)
        secret = self.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        if secret is None or secret["type"] != "kubernetes.io/tls":
            return False
        folder = self.folder / part
        folder.mkdir(exist_ok=True)
        for file, content in secret["data"].items():
            (folder / file).write_bytes(base64.b64decode(content))
        return True

    def _here(self, argument: str, part: str) -> str:
        """Return an argument with this machine's ports and folders in it."""
        flag, _, value = argument.replace("$(POD_NAMESPACE)", self.namespace).partition("=")
        if value.startswith("0.0.0.0:"):
            value = self.address(part, int(value.rpartition(":")[2]))
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

    def reach(self, what: str, condition: Any, look: Any, deadline_s: float = 300) -> None:
        """Wait for a condition while `look` goes on and whatever ends is started again."""

        def met() -> bool:
            look()
            self.keep_running()
            return bool(condition())

        until_sync(met, deadline_s, 0.1, what)
