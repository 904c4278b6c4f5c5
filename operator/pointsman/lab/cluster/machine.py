"""What a cluster needs of the machine and changes on it: packages, a bridge, two switches of the kernel."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from pointsman.lab import packages
from pointsman.lab.cluster.layout import BALANCERS, BRIDGE, CGROUP, CNI_PROGRAMS, GATEWAY, PODS
from pointsman.lab.process import LabError

PACKAGES: Final = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    f"{CNI_PROGRAMS}/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
}
"""Program: Debian's package."""
_SWITCHES: Final = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_SHARES: Final = {"cpu.shares": 16 << 10, "cpu.weight": 1600}
"""All pods together: by default they would get as much of a busy machine as one process beside them does."""
_RUN_S: Final = 30
_NEEDED: Final = 1 << 12 | 1 << 21
"""CAP_NET_ADMIN and CAP_SYS_ADMIN (capabilities(7))."""
_MEMORY_KIB: Final = 8 << 20
"""All our images take a third of it."""


def run(command: Sequence[str], *, check: bool = True) -> str:
    """Run a short command; return what it printed. `LabError` if it fails and `check`."""
    try:
        done = subprocess.run(
            [*command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_RUN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"`{' '.join(command)}`: {error}") from error
    if check and done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def problem() -> str | None:
    """Say why this machine can have no real node, or None. Installs and changes nothing."""
    if platform.system() != "Linux":
        return f"a real node needs Linux; this is {platform.system()}: use a virtual machine with Debian 12"
    if os.geteuid() != 0:
        return "a real node makes network devices, mounts and cgroups, which only root may: run it by sudo"
    if _capabilities() & _NEEDED != _NEEDED:
        return "root lacks CAP_NET_ADMIN or CAP_SYS_ADMIN here: use a machine, or a privileged container"
    return None


def _capabilities() -> int:
    """Return what this process may, as the kernel numbers it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def prepare(say: Callable[[str], None]) -> None:
    """Have all packages there, or raise `LabError` with the command that installs them."""
    found = problem()
    if found is not None:
        raise LabError(found)
    packages.ensure(PACKAGES, "a real node", say)


def owner() -> Path | None:
    """Return the state folder of the cluster whose bridge is on this machine, or None."""
    text = run(["ip", "-json", "link", "show", "dev", BRIDGE], check=False).strip()
    if not text:
        return None
    links: list[dict[str, Any]] = json.loads(text)
    return Path(links[0].get("ifalias", "/nonexistent")) if links else None


def foreign_node() -> bool:
    """Say whether another Kubernetes node runs here: kube-proxy's tables are there and our bridge is not."""
    return owner() is None and "kube-proxy" in run(["nft", "list", "tables"], check=False)


def set_up(state: Path, images: Path) -> None:
    """Make bridge and cgroups and set the kernel's switches; what they were is kept in the state folder.

    `images`: the folder of containerd's images, which is a file system in memory where there is enough.
    """
    kept = state / "switches.json"
    if not kept.exists():
        # The second switch exists only once the kernel has the module.
        run(["modprobe", "br_netfilter"], check=False)
        found = {
            name: _switch(name).read_text("ascii").strip() for name in _SWITCHES if _switch(name).exists()
        }
        kept.write_text(json.dumps(found), "utf-8")
    run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run(["ip", "link", "set", BRIDGE, "alias", str(state)])
    run(["ip", "addr", "replace", f"{GATEWAY}/{PODS.partition('/')[2]}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    # Without any route the kernel would refuse these addresses before kube-proxy sees them.
    run(["ip", "route", "replace", BALANCERS, "dev", BRIDGE])
    for name in _SWITCHES:
        if _switch(name).exists():
            _switch(name).write_text("1", "ascii")
    for folder in cgroup_roots():
        _make_cgroup(folder / CGROUP)
    _keep_in_memory(images)


def tear_down(state: Path) -> None:
    """Remove the bridge, and set the kernel's switches to what they were."""
    if owner() is not None:
        ports = json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE], check=False) or "[]")
        for port in ports:
            # The kernel would remove them with their pods' namespaces, some time after.
            run(["ip", "link", "delete", port["ifname"]], check=False)
        run(["ip", "link", "delete", BRIDGE])
    kept = state / "switches.json"
    if kept.exists():
        for name, value in json.loads(kept.read_text("utf-8")).items():
            _switch(name).write_text(value, "ascii")
        kept.unlink()


def cgroup_roots() -> list[Path]:
    """Return the root of every hierarchy of cgroups: one of version 2, a dozen of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    links = [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted(path for path in links if (path / "cgroup.procs").exists())


def _keep_in_memory(folder: Path) -> None:
    """Mount a file system in memory: ten thousand files come and go in no time, and `down` is one umount."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    free_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    if free_kib >= _MEMORY_KIB:
        mount_memory(folder, _MEMORY_KIB)


def mount_memory(folder: Path, kib: int) -> None:
    """Mount a file system in memory on a folder; `sweep` unmounts it."""
    run(["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=711", "pointsman-lab", str(folder)])


def _make_cgroup(folder: Path) -> None:
    if folder.is_dir():
        return
    above = folder.parent
    if (above / "cgroup.subtree_control").exists():
        for controller in (above / "cgroup.controllers").read_text("ascii").split():
            # One at a time: a controller that cannot be had must not cost the others.
            _try_write(above / "cgroup.subtree_control", f"+{controller}")
    folder.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        # Version 1: nothing may run in a cpuset without processors.
        if (folder / name).exists() and (above / name).exists():
            _try_write(folder / name, (above / name).read_text("ascii").strip())
    for name, share in _SHARES.items():
        if (folder / name).exists():
            _try_write(folder / name, str(share))


def _try_write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "ascii")
    except OSError:
        return


def _switch(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")
