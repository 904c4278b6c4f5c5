"""Which images there are: `registry.local/<name>`, what they run, and how each layer is made."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from pointsman.lab import binaries, envoy
from pointsman.lab.controlplane import REPOSITORY
from pointsman.lab.images import debian, layers, python
from pointsman.lab.images.oci import Image, Layer, Recipe, assemble
from pointsman.lab.images.store import Store, fingerprint
from pointsman.lab.process import LabError

REGISTRY: Final = "registry.local"
"""No such registry is ever asked: the images are there before the pods."""
_TRITON: Final = "/opt/tritonserver"
_PAUSE_S: Final = 120
_PYTHON_ENV: Final = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}  # noqa: S108 - the only place that a pod can write to
_TRITON_ENV: Final = {
    "PATH": f"{_TRITON}/bin:/usr/local/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": f"{_TRITON}/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HOME": "/tmp",  # noqa: S108 - as above
}
RECIPES: Final = {
    recipe.name.removeprefix(f"{REGISTRY}/"): recipe
    for recipe in (
        Recipe(
            f"{REGISTRY}/pointsman",
            ("debian", "numpy", "wheels", "pointsman"),
            ("pointsman",),
            _PYTHON_ENV,
        ),
        Recipe(
            f"{REGISTRY}/pointsman-tiers",
            ("debian", "numpy", "wheels", "train", "data", "pointsman"),
            ("pointsman", "tier"),
            _PYTHON_ENV,
        ),
        Recipe(f"{REGISTRY}/pointsman-triton", ("debian", "numpy", "triton"), ("tritonserver",), _TRITON_ENV),
        Recipe(f"{REGISTRY}/envoy", ("debian", "envoy"), ("envoy",)),
        Recipe(f"{REGISTRY}/prometheus", ("debian", "prometheus"), ("prometheus",)),
        Recipe(f"{REGISTRY}/coredns", ("coredns",), ("/usr/local/bin/coredns",)),
        Recipe(f"{REGISTRY}/metrics-server", ("metrics-server",), ("/usr/local/bin/metrics-server",)),
        Recipe(f"{REGISTRY}/pause", ("pause",), ("/usr/local/bin/pause",)),
    )
}
NODE: Final = ("pause", "coredns")
"""What a node needs before anything of ours runs on it."""
OURS: Final = ("pointsman", "pointsman-tiers", "pointsman-triton", "envoy", "prometheus")


def reference(name: str) -> str:
    """Return the reference of an image, for instance registry.local/pointsman:dev."""
    return f"{RECIPES[name].name}:dev"


class Workshop:
    """Makes images; what was made from the same content before is taken from the cache folder."""

    def __init__(self, say: Callable[[str], None] = lambda _: None, folder: Path | None = None) -> None:
        self.store = Store(folder or binaries.cache_dir() / "images")
        self._say = say

    def images(self, names: Iterable[str]) -> list[Image]:
        """Return these images, their layers made. `LabError` for a name that is not in `RECIPES`."""
        made: list[Image] = []
        for name in names:
            if name not in RECIPES:
                raise LabError(f"no image is named {name}; there are {', '.join(RECIPES)}")
            recipe = RECIPES[name]
            made.append(assemble(recipe, [self._layer(each) for each in recipe.layers]))
        return made

    def _layer(self, name: str) -> Layer:
        makers: dict[str, Callable[[], Layer]] = {
            "debian": lambda: debian.layer(self.store, self._say),
            "numpy": lambda: self._wheels(name, _numpy()),
            "wheels": lambda: self._wheels(name, _without(python.closure("pointsman"), _numpy())),
            "train": lambda: self._wheels(name, _only_training()),
            "pointsman": lambda: python.own(self.store, self._say),
            "data": lambda: _data(self.store),
            "triton": lambda: _triton(self.store),
            "pause": lambda: _pause(self.store, self._say),
            "envoy": lambda: _program(self.store, name, envoy.binary()),
            # Debian's knows no Kubernetes to discover.
            "prometheus": lambda: _program(self.store, name, binaries.built(name, self._say)),
        }
        maker = makers.get(name)
        return _program(self.store, name, binaries.ensure(name, self._say)) if maker is None else maker()

    def _wheels(self, name: str, versions: dict[str, str]) -> Layer:
        return python.layer(self.store, name, versions, self._say)


def _only_training() -> dict[str, str]:
    return _without(python.closure("pointsman", ["train"]), python.closure("pointsman"))


def _numpy() -> dict[str, str]:
    return {"numpy": importlib.metadata.version("numpy")}


def _without(some: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    return {name: version for name, version in some.items() if name not in others}


def _files(entries: Callable[[], Iterable[layers.Entry]]) -> Callable[[IO[bytes]], None]:
    return lambda out: layers.write([*entries()], out)


def _program(store: Store, name: str, binary: Path) -> Layer:
    """Return a layer with one program. Its size and time stand for its content: reading it takes a second."""
    seen = binary.resolve().stat()
    inputs = [name, str(binary.resolve()), seen.st_size, seen.st_mtime_ns]
    return store.layer(
        name, inputs, _files(lambda: [layers.file(binary.resolve(), f"/usr/local/bin/{name}")])
    )


def _data(store: Store) -> Layer:
    folder = REPOSITORY / "data" / "mmlu-pro"
    return store.layer("data", fingerprint(folder), _files(lambda: layers.tree(folder, "/data")))


def _triton(store: Store) -> Layer:
    """Return a layer with the wheel's server and Python backend, where NVIDIA's own image has them."""
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise LabError("Triton is not installed (wheel nvidia-pytriton): pip install 'pointsman[lab]'")
    packages = Path(found.origin).parents[1]
    version = importlib.metadata.version("nvidia-pytriton")
    return store.layer("triton", [version, debian.PYTHON, 1], _files(lambda: _triton_files(packages)))


def _triton_files(packages: Path) -> Sequence[layers.Entry]:
    server = packages / "pytriton" / "tritonserver"
    python_backend = server / "backends" / "python"
    stub = "triton_python_backend_stub"
    version = f"{debian.PYTHON[0]}.{debian.PYTHON[1]}"
    return [
        layers.file(server / "bin" / "tritonserver", f"{_TRITON}/bin/tritonserver"),
        *(
            each
            for each in layers.tree(python_backend, f"{_TRITON}/backends/python")
            if "__pycache__" not in each.path.parts
        ),
        layers.file(server / "python_backend_stubs" / version / stub, f"{_TRITON}/backends/python/{stub}"),
        *layers.tree(packages / "nvidia_pytriton.libs", f"{_TRITON}/lib"),
    ]


def _pause(store: Store, say: Callable[[str], None]) -> Layer:
    """Return a layer with the program that holds a pod's namespaces open."""
    source = REPOSITORY / "images" / "pause"

    def entries() -> list[layers.Entry]:
        go = binaries.go_command(say)
        with tempfile.TemporaryDirectory(prefix="pointsman-pause-") as folder:
            out = Path(folder) / "pause"
            command = [str(go), "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
            done = subprocess.run(
                [*command, "-o", str(out), "."],
                cwd=source,
                env={**os.environ, "CGO_ENABLED": "0"},
                capture_output=True,
                text=True,
                timeout=_PAUSE_S,
                check=False,
            )
            if done.returncode != 0:
                raise LabError(f"images/pause does not build: {done.stderr.strip()[-500:]}")
            return [layers.program(out.read_bytes(), "/usr/local/bin/pause")]

    return store.layer("pause", fingerprint(source), _files(entries))
