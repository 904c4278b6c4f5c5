"""The lowest layer: Debian's essential packages and its Python, made by mmdebstrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from pointsman.lab import packages
from pointsman.lab.images.layers import EPOCH
from pointsman.lab.images.oci import Layer
from pointsman.lab.images.store import Store
from pointsman.lab.process import LabError

SUITE: Final = "bookworm"
PYTHON: Final = (3, 11)
"""Debian's Python of this suite: what our other layers are compiled for."""
_INCLUDE: Final = (
    "ca-certificates",
    "libpython3.11",  # Triton's Python backend
    "libpython3.11-stdlib",
    "libstdc++6",
    "python3.11-minimal",
    "usr-is-merged",  # in place of usrmerge, which brings all of Perl
)
_MERGED: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
_WITHOUT: Final = ("doc", "man", "locale", "info", "lintian", "bash-completion")
_HOOK: Final = """
set -eu
ln -s python3.11 "$1/usr/bin/python3"
echo nonroot:x:65532:65532:nonroot:/nonexistent:/usr/sbin/nologin >> "$1/etc/passwd"
echo nonroot:x:65532: >> "$1/etc/group"
rm -rf "$1"/var/cache/* "$1"/var/lib/apt/* "$1"/var/log/*
rm -f "$1/etc/machine-id" "$1/etc/hostname" "$1/etc/resolv.conf"
rm -rf "$1"/usr/lib/*/gconv "$1"/usr/lib/python3.11/pydoc_data "$1"/usr/lib/python3.11/lib2to3
find "$1/usr" -name '__pycache__' -prune -exec rm -rf {} +
chroot "$1" python3 -m compileall -q -j 1 --invalidation-mode unchecked-hash /usr/lib/python3.11 || true
"""
# The kubelet brings hostname and resolv.conf. Where root is read-only, Python cannot keep what it compiles.
_MAKE_S: Final = 900


def layer(store: Store, say: Callable[[str], None]) -> Layer:
    """Return the layer, made anew when this recipe changes; when Debian does: empty the cache."""

    def make(out: IO[bytes]) -> None:
        say(f"making the base layer from Debian {SUITE}, once: about a minute")
        _debootstrap(out, say)

    return store.layer("debian", [SUITE, _INCLUDE, _WITHOUT, _HOOK], make)


def _debootstrap(out: IO[bytes], say: Callable[[str], None]) -> None:
    packages.ensure({"mmdebstrap": "mmdebstrap"}, "the base layer of our images", say)
    with tempfile.TemporaryDirectory(prefix="pointsman-debian-") as folder:
        tar, hook = Path(folder) / "rootfs.tar", Path(folder) / "hook.sh"
        hook.write_text(f"#!/bin/sh{_HOOK}", "utf-8")
        hook.chmod(0o755)
        command = ["mmdebstrap", "--variant=essential", f"--include={','.join(_INCLUDE)}", "--quiet"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _WITHOUT]
        command += [f"--hook-dir={_MERGED}"] if Path(_MERGED).is_dir() else []
        command += [f"--customize-hook={hook}", SUITE, str(tar)]
        env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=env,
            timeout=_MAKE_S,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-1500:]}")
        with tar.open("rb") as stream:
            shutil.copyfileobj(stream, out, 1 << 20)
