"""The real tritonserver (wheel nvidia-pytriton), stock, with an empty repository to load models into."""

from __future__ import annotations

import ctypes.util
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pointsman.lab.checks import http_ok
from pointsman.lab.process import LOCALHOST, Child, LabError, Server, Spec, free_port

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where Triton's Python backend keeps its regions


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens on 127.0.0.1."""

    http: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)


class Triton(Server):
    """One Triton without models: load them over HTTP. After a restart it is empty again, as in a cluster."""

    def __init__(
        self,
        state_dir: Path,
        *,
        ports: Ports | None = None,
        http_threads: int = 4,
        arguments: Sequence[str] = (),
    ) -> None:
        """`arguments`: more of Triton's own."""
        self.ports = ports or Ports()
        self.http_url = f"http://{LOCALHOST}:{self.ports.http}"
        self.metrics_address = f"{LOCALHOST}:{self.ports.metrics}"
        home = state_dir.resolve() / "triton"
        self._region = f"pointsman-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}-"
        spec = self._spec(home, state_dir.resolve() / "log" / "triton.log", http_threads)
        super().__init__(replace(spec, command=[*spec.command, *arguments]))

    def start(self) -> Child:
        """Start it, without what a killed predecessor left in shared memory."""
        self.sweep()
        return super().start()

    def stop(self) -> None:
        """End it."""
        super().stop()
        self.sweep()

    def sweep(self) -> None:
        """Remove shared-memory regions that outlived their process (after kill -9). Only while none runs."""
        for region in _SHARED_MEMORY.glob(f"{self._region}*"):
            region.unlink(missing_ok=True)

    def _spec(self, home: Path, log: Path, http_threads: int) -> Spec:
        packages = _site_packages()
        server = packages / "pytriton" / "tritonserver"
        repository = home / "repository"
        repository.mkdir(parents=True, exist_ok=True)
        command = [
            str(server / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            "--model-control-mode=explicit",
            f"--backend-directory={_backends(server, home / 'backends')}",
            f"--backend-config=python,shm-region-prefix-name={self._region}",
            f"--http-address={LOCALHOST}",
            f"--http-port={self.ports.http}",
            # Triton's HTTP threads spin for work; few are enough and cost less.
            f"--http-thread-count={http_threads}",
            f"--grpc-address={LOCALHOST}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-address={LOCALHOST}",
            f"--metrics-port={self.ports.metrics}",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=3",
            "--log-verbose=0",
        ]
        address = f"{LOCALHOST}:{self.ports.http}"
        return Spec(
            "triton", command, log, address, lambda: http_ok(address, "/v2/health/live"), env=_env(packages)
        )


def _site_packages() -> Path:
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise LabError("Triton is not installed (wheel nvidia-pytriton): pip install 'pointsman[lab]'")
    return Path(found.origin).parents[1]


def _env(packages: Path) -> dict[str, str]:
    """Return what makes the Python backend's stub find its libraries, this interpreter and its packages."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = str(sysconfig.get_config_var("LIBDIR"))
    shared = (Path(home) / f"libpython{version}.so.1.0").exists()
    if not shared and ctypes.util.find_library(f"python{version}") is None:
        raise LabError(
            f"Triton's Python backend needs libpython{version}.so.1.0 and this Python has none; "
            f"install it (Debian, Ubuntu: apt-get install libpython{version})"
        )
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(
            [str(packages / "nvidia_pytriton.libs"), *([home] if shared else [])]
        ),
        "PYTHONPATH": str(packages),
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath)]),
        "CUDA_VISIBLE_DEVICES": "",
    }


def _backends(server: Path, folder: Path) -> Path:
    """Assemble a backend folder: the Python backend, and beside it the stub for this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        have = sorted(path.name for path in stub.parents[1].iterdir())
        raise LabError(f"Triton's wheel has no stub for Python {version}; use one of {', '.join(have)}")
    python = folder / "python"
    shutil.copytree(server / "backends" / "python", python, dirs_exist_ok=True)
    shutil.copy2(stub, python)
    return folder
