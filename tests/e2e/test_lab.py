"""The lab from outside: what its commands promise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.lab.process import listens
from stack import Bundle, Stack, pointsman
from wait import until_sync

PARTS = {
    "etcd",
    "kube-apiserver",
    "prometheus",
    "triton",
    "envoy",
    "operator",
    "xds",
    "evaluator",
    "tier-small",
    "tier-cheap",
    "tier-spare",
    "states",
    "tier-strong",
}


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _of_lab(state: Path) -> list[str]:
    """Return the command lines of all processes that name the lab's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in line and f"/{os.getpid()}/" not in str(entry):
            found.append(line)
    return found


def test_status_has_exactly_what_is_promised(stack: Stack) -> None:
    """Parts with pid, address, health and restarts; entry, kubeconfig, prometheus."""
    status = stack.status()
    assert set(status) == {"parts", "entry", "kubeconfig", "prometheus"}
    assert set(status["parts"]) == PARTS
    for name, part in status["parts"].items():
        assert set(part) == {"pid", "address", "healthy", "restarts"}, name
        assert part["healthy"], name
        assert _alive(part["pid"]), name
        host, _, port = part["address"].rpartition(":")
        assert listens(int(port), host), name
    assert Path(status["kubeconfig"]).is_file()


def test_a_second_up_on_the_same_folder_is_refused(stack: Stack) -> None:
    """It says that one runs, and disturbs nothing."""
    before = stack.status()
    second = pointsman("lab", "up", "-d", "--state", str(stack.state), check=False)
    assert second.returncode == 1
    assert "runs already" in second.stderr
    assert stack.status() == before


def test_a_killed_part_comes_back_at_its_address_and_is_named_with_its_log(stack: Stack) -> None:
    """The lab's own log says who died, how, and where to read on."""
    address = stack.part("prometheus")["address"]
    restarts = stack.kill("prometheus")
    assert stack.back("prometheus", restarts)["address"] == address
    said = pointsman("lab", "logs", "lab", "--state", str(stack.state)).stdout
    assert "prometheus: was ended by SIGKILL" in said
    assert str(stack.state / "log" / "prometheus.log") in said


def test_a_part_is_restarted_on_demand(stack: Stack) -> None:
    """It has another pid, and is healthy when the command returns."""
    before = stack.part("tier-cheap")
    pointsman("lab", "restart", "tier-cheap", "--state", str(stack.state))
    after = stack.part("tier-cheap")
    assert after["healthy"]
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1


def test_unknown_parts_are_refused_with_the_known_ones(stack: Stack) -> None:
    """For restart and for logs."""
    for verb in ("restart", "logs"):
        refused = pointsman("lab", verb, "nobody", "--state", str(stack.state), check=False)
        assert refused.returncode == 1
        assert "tier-strong" in refused.stderr


def test_commands_without_a_lab_say_how_to_start_one(tmp_path: Path) -> None:
    """Status fails; down has nothing to do."""
    missing = pointsman("lab", "status", "--state", str(tmp_path / "none"), check=False)
    assert missing.returncode == 1
    assert "pointsman lab up" in missing.stderr
    assert pointsman("lab", "down", "--state", str(tmp_path / "none")).returncode == 0


@pytest.mark.parametrize("how", ["down", "interrupt", "kill"])
def test_nothing_is_left_running_or_listening(tmp_path: Path, how: str) -> None:
    """After down, Ctrl-C in the foreground, or kill -9 of the lab itself."""
    state = tmp_path / "lab"
    with (tmp_path / "out").open("wb") as out:
        lab = subprocess.Popen(
            [sys.executable, "-m", "pointsman", "lab", "up", "--state", str(state)], stdout=out, stderr=out
        )
    try:
        until_sync(
            lambda: lab.poll() is not None or b"the lab is up" in (tmp_path / "out").read_bytes(), 120, 0.2
        )
        status = json.loads(pointsman("lab", "status", "--state", str(state), "--json").stdout)
        if how == "down":
            pointsman("lab", "down", "--state", str(state))
        else:
            lab.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
        code = lab.wait(40)
    finally:
        lab.kill()
    assert code == (-signal.SIGKILL if how == "kill" else 0), (tmp_path / "out").read_text()
    until_sync(lambda: not [part for part in status["parts"].values() if _alive(part["pid"])], 10)
    until_sync(lambda: not _of_lab(state), 15, what="no process names the lab's folder")
    addresses = [part["address"] for part in status["parts"].values()] + [
        status["entry"].removeprefix("http://")
    ]
    # The kernel closes a killed process's sockets a moment after it is gone.
    until_sync(
        lambda: not [a for a in addresses if listens(int(a.rpartition(":")[2]))], 5, what="nobody listens"
    )


def test_the_quickstart_is_applied_as_its_readme_says(stack: Stack, tmp_path: Path, bundle: Bundle) -> None:
    """`lab apply` fills in addresses, digest and threshold; the policy becomes Ready."""
    quickstart = Path(__file__).resolve().parents[2] / "examples" / "01-quickstart"
    file = tmp_path / "bundle.zip"
    file.write_bytes(bundle.data)
    apply = ["lab", "apply", "-f", str(quickstart), "--bundle", str(file), "--state", str(stack.state)]
    shown = pointsman(*apply, "--print").stdout
    assert bundle.sha256 in shown
    assert stack.tier_url("tier-cheap") in shown
    pointsman(*apply)
    stack.ready("quickstart")
    stack.drop("quickstart")
