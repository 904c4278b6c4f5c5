"""Layers of Python packages: the wheels of this environment's versions, without their tests, compiled."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from pointsman.lab import packages
from pointsman.lab.images import layers
from pointsman.lab.images.debian import PYTHON
from pointsman.lab.images.oci import Layer
from pointsman.lab.images.store import Store, fingerprint
from pointsman.lab.process import LabError

PACKAGES: Final = f"/usr/local/lib/python{PYTHON[0]}.{PYTHON[1]}/dist-packages"
_SOURCES: Final = Path(__file__).resolve().parents[2]
_PIP_S: Final = 900
_COMPILE_S: Final = 600
_DROPPED_FOLDERS: Final = frozenset({"__pycache__", "tests", "benchmarks", "include"})
_DROPPED_SUFFIXES: Final = frozenset({".pyx", ".pxd", ".pyi", ".h", ".hpp", ".c", ".cpp", ".a", ".lib"})
_SOURCELESS: Final = ("kubernetes",)
"""Generated code whose sources (75 MB, mostly comments) only a traceback would show."""
_POLICY: Final = 3
"""Counted up when what is kept of a package changes."""
_REQUIREMENT: Final = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?$")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def closure(root: str, extras: Sequence[str] = ()) -> dict[str, str]:
    """Return name and installed version of everything that a distribution needs, itself left out."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(root, frozenset(extras))]
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = importlib.metadata.distribution(key[0])
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found[_canonical(key[0])] = distribution.version
        todo += [each for line in distribution.requires or () for each in _wanted(line, key[1])]
    found.pop(_canonical(root), None)
    return found


def _wanted(line: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    matched = _REQUIREMENT.match(line)
    if matched is None:
        return
    name, own, marker = matched.groups()
    asked = set(_EXTRA.findall(marker or ""))
    if not asked or asked & extras:
        yield name, frozenset(each.strip() for each in (own or "").split(",") if each.strip())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def layer(store: Store, name: str, versions: Mapping[str, str], say: Callable[[str], None]) -> Layer:
    """Return a layer with these packages (name: version), installed by pip and compiled."""
    pins = sorted(f"{package}=={version}" for package, version in versions.items())

    def make(out: IO[bytes]) -> None:
        packages.ensure({"strip": "binutils"}, "making our images", say)
        say(f"making the layer {name} of {len(pins)} packages, once for these versions")
        with tempfile.TemporaryDirectory(prefix="pointsman-wheels-") as folder:
            stage = Path(folder) / "root"
            _install(pins, stage)
            _tidy(stage)
            _strip(stage)
            _compile(stage, PACKAGES, say)
            layers.write(layers.tree(stage, PACKAGES), out)

    return store.layer(name, [_POLICY, PYTHON, pins], make)


def own(store: Store, say: Callable[[str], None]) -> Layer:
    """Return the layer with our own package and its command."""

    def make(out: IO[bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="pointsman-own-") as folder:
            stage = Path(folder) / "root"
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_SOURCES, stage / "pointsman", ignore=ignore)
            _compile(stage, PACKAGES, say)
            start = f"#!/usr/bin/python{PYTHON[0]}.{PYTHON[1]}\nfrom pointsman.cli import main\n\nmain()\n"
            command = layers.program(start.encode(), "/usr/local/bin/pointsman")
            layers.write([*layers.tree(stage, PACKAGES), command], out)

    return store.layer("pointsman", [_POLICY, PYTHON, fingerprint(_SOURCES)], make)


def _install(pins: Sequence[str], stage: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--disable-pip-version-check", "--no-warn-conflicts", "--target", str(stage)]
    if sys.version_info[:2] != PYTHON:
        version = f"{PYTHON[0]}.{PYTHON[1]}"
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
        command += [f"--platform=manylinux_2_{minor}_{os.uname().machine}" for minor in range(17, 37)]
    done = subprocess.run(
        [*command, *pins],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_PIP_S,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"pip cannot install the images' packages: {done.stderr.strip()[-1500:]}")


def _tidy(stage: Path) -> None:
    """Drop what no running program reads, and what would differ from machine to machine."""
    shutil.rmtree(stage / "bin", ignore_errors=True)  # scripts that name this machine's interpreter
    for folder in sorted(stage.rglob("*"), reverse=True):
        if folder.is_dir() and folder.name in _DROPPED_FOLDERS and folder.parent != stage:
            shutil.rmtree(folder)
    for path in stage.rglob("*"):
        if path.suffix in _DROPPED_SUFFIXES or (path.name in {"RECORD", "direct_url.json", "REQUESTED"}):
            path.unlink(missing_ok=True)


def _strip(stage: Path) -> None:
    """Take symbols that only a debugger reads out of extension modules (of shared libraries: too risky)."""
    modules = [str(path) for path in sorted(stage.rglob("*.cpython-*.so"))]
    if modules:
        command = ["strip", "--strip-unneeded", "--enable-deterministic-archives", *modules]
        subprocess.run(command, capture_output=True, timeout=_COMPILE_S, check=False)


def _compile(stage: Path, at: str, say: Callable[[str], None]) -> None:
    """Compile in a process of its own with a fixed hash seed: the same sources give the same bytes."""
    if sys.version_info[:2] != PYTHON:
        version = f"{PYTHON[0]}.{PYTHON[1]}"
        say(f"this is not Python {version}: the image's Python compiles at every start of a pod")
        return
    _run_compileall(stage, at)
    for package in _SOURCELESS:
        if (stage / package).is_dir():
            _run_compileall(stage / package, f"{at}/{package}", "-b")
            for path in (stage / package).rglob("*.py"):
                path.unlink()
            for cache in [*(stage / package).rglob("__pycache__")]:
                shutil.rmtree(cache)


def _run_compileall(folder: Path, at: str, *more: str) -> None:
    command = [sys.executable, "-I", "-m", "compileall", "-q", "-j", "1", "-s", str(folder), "-p", at]
    command += ["--invalidation-mode", "unchecked-hash", *more, str(folder)]
    # Not every file of every package is meant for this Python: what does not compile stays as it is.
    subprocess.run(
        command,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=_COMPILE_S,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
