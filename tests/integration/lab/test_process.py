"""Children of the lab: started, watched, ended, and never left over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.lab.process import LOCALHOST, Child, LabError, Server, Spec, free_port, free_ports, listens
from wait import until_sync


def _web(folder: Path, port: int) -> Spec:
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        LOCALHOST,
        "--directory",
        str(folder),
    ]
    return Spec(
        "web", command, folder / "web.log", f"{LOCALHOST}:{port}", lambda: listens(port), stop_grace_s=2
    )


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_server_serves_within_its_context_and_not_after(tmp_path: Path) -> None:
    """Entering waits until it is ready; leaving ends it."""
    port = free_port()
    with Server(_web(tmp_path, port)) as server:
        assert listens(port)
        child = server.child
        assert child is not None
        pid = child.pid
    assert not listens(port)
    assert not _alive(pid)


async def test_a_server_is_an_async_context_manager_too(tmp_path: Path) -> None:
    """The event loop stays free meanwhile."""
    port = free_port()
    async with Server(_web(tmp_path, port)):
        assert listens(port)
    assert not listens(port)


def test_a_child_that_dies_while_starting_is_told_with_its_log(tmp_path: Path) -> None:
    """The error holds exit code and last words."""
    command = [sys.executable, "-c", "import sys; sys.exit('no luck')"]
    with pytest.raises(LabError, match=r"exit code 1 while starting; the end of its log .*\n.*no luck"):
        Server(Spec("sad", command, tmp_path / "sad.log", "", lambda: False)).__enter__()


def test_a_child_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    """The deadline is kept, and nothing stays."""
    spec = Spec("slow", ["sleep", "60"], tmp_path / "slow.log", "", lambda: False, start_deadline_s=0.3)
    server = Server(spec)
    with pytest.raises(LabError, match="not ready after"):
        server.__enter__()
    assert server.child is None


def test_a_child_that_ignores_term_is_killed_with_its_own_children(tmp_path: Path) -> None:
    """After the grace, the whole process group is gone."""
    script = "trap '' TERM; sleep 61 & echo $!; while true; do sleep 1; done"
    spec = Spec("deaf", ["bash", "-c", script], tmp_path / "deaf.log", "", lambda: True, stop_grace_s=0.3)
    child = Child(spec)
    grandchild = int(until_sync(lambda: spec.log.read_text("ascii").strip(), 5))
    assert child.stop() == -signal.SIGKILL
    until_sync(lambda: not _alive(grandchild), 5)


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the parent leaves none."""
    script = (
        "import sys, time; from pathlib import Path; from pointsman.lab.process import Child, Spec\n"
        f"child = Child(Spec('x', ['sleep', '62'], Path({str(tmp_path / 'x.log')!r}), '', lambda: True))\n"
        "print(child.pid, flush=True); time.sleep(62)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
    until_sync(lambda: not _alive(pid), 5)


def test_free_ports_are_different_and_not_for_outgoing_connections() -> None:
    """A port that the kernel hands to clients could be taken while a part restarts."""
    ports = free_ports(50)
    low, high = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    assert len(set(ports)) == 50
    assert not [port for port in ports if low <= port <= high]


def test_a_port_is_kept_for_who_was_given_it_until_that_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that choose at once get different ones; a dead one keeps none."""
    script = "from pointsman.lab.process import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        monkeypatch.setattr(random, "sample", lambda *_: [port])
        with pytest.raises(LabError, match="no free TCP port"):
            free_port()
        other.kill()
    assert free_port() == port
