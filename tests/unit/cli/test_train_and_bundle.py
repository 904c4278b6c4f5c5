"""`pointsman train` and `pointsman bundle`: what they print and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bundles as small
from pointsman.cli import main
from pointsman.triton import bundle as bundles

DATA = Path(__file__).parents[3] / "data" / "mmlu-pro"
BODY = json.dumps({"messages": [{"role": "user", "content": "Divide the total by the ratio."}]}) + "\n"


def run(*arguments: str | Path, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a small bundle."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(small.file())
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cheap", "gpt-9", "--strong", "gemini-1.5-pro-002"), "no outcomes of gpt-9"),
        (("--cheap", "gemini-1.5-pro-002", "--strong", "gemini-1.5-pro-002"), "two different models"),
        (("--cheap", "a", "--strong", "b", "--router", "oracle"), "'oracle' is not one of: linear"),
        (("--cheap", "a", "--strong", "b", "--strong-share", "2"), "--strong-share"),
    ],
)
def test_train_refuses_bad_input(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Bad input ends with 2, says what is wrong, and writes nothing."""
    out = tmp_path / "bundle.zip"
    found = run("train", "--data", DATA, "--out", out, *arguments)
    assert found.exit_code == 2
    assert message in found.stderr
    assert not out.exists()


def test_inspect(file: Path) -> None:
    """`inspect` shows tiers, intents, digest and size."""
    shown = run("bundle", "inspect", file)
    assert shown.exit_code == 0
    assert "tier-0, last" in shown.stdout
    printed = json.loads(run("bundle", "inspect", file, "--json").stdout)
    assert printed["sha256"] == bundles.sha256(small.file())
    assert printed["manifest"]["intents"] == ["prose", "sums"]


def test_score_is_what_the_classifier_says(file: Path) -> None:
    """`score` gives each line's scores and intent, and ends with 0."""
    found = run("bundle", "score", file, "--json", stdin=BODY * 2)
    expected = bundles.classifier(small.fitted()).score("Divide the total by the ratio.")
    assert found.exit_code == 0
    assert [json.loads(line) for line in found.stdout.splitlines()] == [
        {"scores": {"tier-0": float(expected.scores[0]), "last": 1.0}, "intent": "sums"}
    ] * 2


def test_score_text(file: Path) -> None:
    """`score --text` takes all of standard input as one prompt."""
    found = run("bundle", "score", file, "--text", stdin="A poem\nwith a metaphor.")
    assert found.exit_code == 0
    assert found.stdout.endswith("intent prose\n")


def test_score_goes_on_after_an_unreadable_line(file: Path) -> None:
    """A line that is no request is named in its place; the rest is scored; the end is 1."""
    found = run("bundle", "score", file, stdin="nonsense\n" + BODY)
    assert found.exit_code == 1
    first, second = found.stdout.splitlines()
    assert first.startswith("error: json: ")
    assert second.endswith("intent sums")


def test_score_wants_input(file: Path) -> None:
    """Nothing on standard input ends with 2."""
    assert run("bundle", "score", file).exit_code == 2


def test_verify(file: Path) -> None:
    """`verify` ends with 0 for what can serve, and 1 with the reason for what cannot."""
    digest = bundles.sha256(small.file())
    good = run("bundle", "verify", file, "--sha256", digest, "--tiers", "2")
    assert good.exit_code == 0
    assert f"pm-{digest}" in good.stdout
    bad = run("bundle", "verify", file, "--tiers", "3")
    assert bad.exit_code == 1
    assert "the policy has 3" in bad.stderr


def test_no_bundle(tmp_path: Path) -> None:
    """What is no bundle, or not there, is bad input."""
    (tmp_path / "x.zip").write_bytes(b"hello")
    assert run("bundle", "inspect", tmp_path / "x.zip").exit_code == 2
    assert run("bundle", "inspect", tmp_path / "missing.zip").exit_code == 2
