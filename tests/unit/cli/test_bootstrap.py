"""`pointsman bootstrap`: the files that it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.cli import main

GIVEN = {
    "gateway": "default",
    "node-id": "n",
    "xds": "pointsman-xds.pointsman-system.svc:18000",
    "access-log": "pointsman-evaluator.pointsman-system.svc:9081",
    "capture": "pointsman-evaluator.pointsman-system.svc:9082",
}
TLS = {
    "tls-dir": "/etc/pointsman/tls",
    "xds-name": "pointsman-xds.pointsman-system.svc",
    "evaluator-name": "pointsman-evaluator.pointsman-system.svc",
}


def run(out: Path, **given: str) -> tuple[int, str]:
    """Run the command with the flags that it cannot be without, and these; return code and output."""
    flags = GIVEN | {name.replace("_", "-"): value for name, value in given.items()} | {"out": str(out)}
    result = CliRunner().invoke(main, ["bootstrap", *(w for n, v in flags.items() for w in (f"--{n}", v))])
    return result.exit_code, result.output


def test_three_files_that_refer_to_each_other(tmp_path: Path) -> None:
    """The bootstrap finds the SDS files by its own folder, and these the mounted certificate."""
    out = tmp_path / "envoy" / "bootstrap.json"
    assert run(out, **TLS, stats_address="0.0.0.0:9902", shadow_address="0.0.0.0:9903") == (0, "")
    written = {path.name: path.read_text("utf-8") for path in out.parent.iterdir()}
    assert set(written) == {"bootstrap.json", "sds-certificate.json", "sds-authority.json"}
    assert f"{out.parent}/sds-certificate.json" in written["bootstrap.json"]
    assert "/etc/pointsman/tls/tls.key" in written["sds-certificate.json"]
    value = json.loads(written["bootstrap.json"])
    assert [each["name"] for each in value["static_resources"]["listeners"]] == ["shadow", "stats"]


def test_without_certificates_there_is_one_file(tmp_path: Path) -> None:
    """As in a lab; run again it writes the same."""
    out = tmp_path / "bootstrap.json"
    for _ in range(2):
        assert run(out) == (0, "")
        assert [path.name for path in tmp_path.iterdir()] == ["bootstrap.json"]
    assert "transport_socket" not in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"admin_address": "0.0.0.0:9901"}, "use 127.0.0.1"),
        ({"tls_dir": "/etc/pointsman/tls"}, "--tls-dir needs --xds-name and --evaluator-name"),
        ({"xds_name": "x"}, "need --tls-dir"),
        ({"capture": "nowhere"}, "is no address"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, given: dict[str, str], words: str) -> None:
    """Nothing is written then."""
    code, said = run(tmp_path / "bootstrap.json", **given)
    assert code == 2
    assert words in said
    assert not list(tmp_path.iterdir())
