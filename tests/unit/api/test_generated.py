"""The generated files and the command that writes and checks them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pointsman.api.conditions import REASONS
from pointsman.api.crd import files
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS
from pointsman.api.reference import reference
from pointsman.cli.crd import command

REPOSITORY = Path(__file__).parents[3]
COMMITTED = [["generate", "--out", "crds"], ["docs", "--out", "docs/reference/api.md"]]


@pytest.mark.parametrize("arguments", COMMITTED, ids=lambda a: a[0])
def test_the_committed_files_are_fresh(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the repository is what the models say."""
    monkeypatch.chdir(REPOSITORY)
    result = CliRunner().invoke(command, [*arguments, "--check"])
    assert result.exit_code == 0, result.output


def test_generate_writes_and_then_checks_clean(tmp_path: Path) -> None:
    """A first run writes every file, a second writes none, and the check agrees."""
    arguments = ["generate", "--out", str(tmp_path / "crds")]
    first = CliRunner().invoke(command, arguments)
    assert first.output.count("wrote ") == len(files())
    assert CliRunner().invoke(command, arguments).output == ""
    assert CliRunner().invoke(command, [*arguments, "--check"]).exit_code == 0


def test_check_shows_the_difference_and_writes_nothing(tmp_path: Path) -> None:
    """A stale file fails the check with a diff and the command that helps, and stays as it was."""
    CliRunner().invoke(command, ["generate", "--out", str(tmp_path)])
    stale = tmp_path / "pointsman.dev_routingpolicies.yaml"
    edited = stale.read_text("utf-8").replace("maxItems: 8", "maxItems: 9", 1)
    stale.write_text(edited, "utf-8")
    result = CliRunner().invoke(command, ["generate", "--out", str(tmp_path), "--check"])
    assert result.exit_code == 1
    assert "maxItems: 9" in result.output
    assert "run `pointsman crd generate`" in result.output
    assert stale.read_text("utf-8") == edited


def test_check_names_a_file_of_no_kind(tmp_path: Path) -> None:
    """A CRD whose kind is gone is not left behind."""
    CliRunner().invoke(command, ["generate", "--out", str(tmp_path)])
    (tmp_path / "pointsman.dev_gone.yaml").write_text("{}", "utf-8")
    result = CliRunner().invoke(command, ["generate", "--out", str(tmp_path), "--check"])
    assert result.exit_code == 1
    assert "belongs to no kind" in result.output


def test_every_field_and_reason_is_in_the_reference() -> None:
    """The reference lists fields with their type, need and rules, and every reason of every condition."""
    page = reference()
    assert "| `spec.strategy.classifier.deadline` | string |  |" in page
    assert "| `spec.rollout.first` | `Prove` or `Direct` |  |" in page
    assert "| `spec.tiers[].endpoints` | list of object, 1 to 8 | yes |" in page
    assert "must not be longer than total" in next(r for r in page.splitlines() if "timeouts.idle`" in r)
    for reasons in (*REASONS, *GATEWAY_REASONS, *POOL_REASONS):
        for reason in reasons:
            mark = " *Stalled.*" if reason.ends else ""
            assert f"| `{reason}` | {reason.status} | {reason.sentence}{mark} |" in page
