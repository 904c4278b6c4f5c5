"""Ends what is left of a cluster, however it ended: found by what it left on the machine, not by memory.

Its containers outlive containerd, and their mounts, network namespaces and cgroups outlive them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from pointsman.lab.cluster import machine
from pointsman.lab.cluster.layout import CGROUP, NETWORK, PODS
from pointsman.lab.process import LabError

_NAMESPACES: Final = Path("/run/netns")
_RESULTS: Final = Path("/var/lib/cni/results")
_LOG_LINKS: Final = Path("/var/log/containers")
_SHIM_SOCKETS: Final = Path("/run/containerd/s")
_PLUGINS: Final = Path("/var/lib/kubelet/device-plugins")
"""The kubelet's, wherever its own folder is."""
_END_S: Final = 10.0
_LOOK_S: Final = 0.02


def sweep(state: Path) -> None:
    """Leave no process, mount, network device, namespace, cgroup and table of the cluster of this folder.

    Servers that are children of a living lab must have been ended before, the kubelet above all.
    """
    spaces = _own_namespaces()
    _kill_all(state)
    for name in spaces:
        machine.run(["ip", "netns", "delete", name], check=False)
    _unmount(state)
    _remove_cgroups()
    for family in ("ip", "ip6"):
        machine.run(["nft", "delete", "table", family, "kube-proxy"], check=False)
    machine.tear_down(state)
    _remove_files(state)


def remains(state: Path) -> list[str]:
    """Say what of a cluster is on the machine: nothing after `sweep`."""
    found = [f"process {pid}" for pid in sorted(_pids(state))]
    found += [f"mount {point}" for point in _mounts(state)]
    found += [f"network namespace {name}" for name in _own_namespaces()]
    found += [f"cgroup {path}" for root in machine.cgroup_roots() if (path := root / CGROUP).exists()]
    found += [f"bridge of {owner}" for owner in [machine.owner()] if owner is not None]
    tables = machine.run(["nft", "list", "tables"], check=False).splitlines()
    return found + [f"nft {table}" for table in tables if table.endswith(" kube-proxy")]


def _kill_all(state: Path) -> None:
    end = time.monotonic() + _END_S
    while pids := _pids(state):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise LabError(f"processes {sorted(pids)} of the cluster in {state} do not end")
        time.sleep(_LOOK_S)


def _pids(state: Path) -> set[int]:
    """Return the processes in our cgroups, and containerd's shims of our containerd."""
    found: set[int] = set()
    for root in machine.cgroup_roots():
        for procs in (root / CGROUP).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in procs.read_text("ascii").split()}
    address = os.fsencode(state / "node" / "containerd.sock")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if arguments[0].endswith(b"containerd-shim-runc-v2") and address in arguments:
                found.add(int(process.name))
    return {pid for pid in found if not _is_zombie(pid)}


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def _own_namespaces() -> list[str]:
    """Return the network namespaces that containerd made and that have, or had, an address of ours."""
    if not _NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in _NAMESPACES.glob("cni-*") if _is_ours(path.name))


def _is_ours(namespace: str) -> bool:
    try:
        links = json.loads(machine.run(["ip", "-netns", namespace, "-json", "address"], check=False) or "[]")
    except ValueError:
        return True  # not even a namespace any more
    pods = ipaddress.ip_network(PODS)
    addresses = [
        address["local"]
        for link in links
        if link.get("ifname") != "lo"
        for address in link.get("addr_info", [])
        if address.get("family") == "inet"
    ]
    # With no address at all its pod was half made or half removed.
    return not addresses or any(ipaddress.ip_address(address) in pods for address in addresses)


def _mounts(state: Path) -> list[str]:
    """Return the mounts below the state folder, innermost first."""
    with Path("/proc/self/mountinfo").open("rb") as stream:
        points = [os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1")) for line in stream]
    below = f"{state.resolve()}/"
    return [point for point in reversed(points) if point.startswith(below)]


def _unmount(state: Path) -> None:
    for point in _mounts(state):
        subprocess.run(["umount", "--lazy", point], capture_output=True, timeout=30, check=False)


def _remove_cgroups() -> None:
    end = time.monotonic() + _END_S
    while any((root / CGROUP).exists() for root in machine.cgroup_roots()):
        for root in machine.cgroup_roots():
            below = [path for path in (root / CGROUP).rglob("*") if path.is_dir()]
            for path in (*sorted(below, reverse=True), root / CGROUP):
                # The kernel lets the last process of a killed cgroup go a moment after its end.
                with contextlib.suppress(OSError):
                    path.rmdir()
        if time.monotonic() > end:
            raise LabError(f"cgroups {CGROUP} cannot be removed; see {machine.cgroup_roots()[0] / CGROUP}")
        time.sleep(_LOOK_S)


def _remove_sockets() -> None:
    """Remove the sockets of shims and kubelets that nobody listens at any more."""
    for path in [*_SHIM_SOCKETS.glob("*"), _PLUGINS / "kubelet.sock"]:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            try:
                connection.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
    for folder in (_PLUGINS, _PLUGINS.parent, _SHIM_SOCKETS, _SHIM_SOCKETS.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_files(state: Path) -> None:
    _remove_sockets()
    for folder in ("node", "volumes"):
        shutil.rmtree(state / folder, ignore_errors=True)
    if _RESULTS.is_dir():
        for result in _RESULTS.glob(f"{NETWORK}-*"):
            sandbox = result.name.removeprefix(f"{NETWORK}-").partition("-")[0]
            for each in _RESULTS.glob(f"*-{sandbox}-*"):
                each.unlink(missing_ok=True)
    if _LOG_LINKS.is_dir():
        for link in _LOG_LINKS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{state.resolve()}/"):
                link.unlink(missing_ok=True)
