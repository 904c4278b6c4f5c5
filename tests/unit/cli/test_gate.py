"""`pointsman gate` on real pairs of versions: verdicts, exit codes, what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pointsman.cli import main

DATA = Path(__file__).parents[3] / "data" / "zeroeval-math"
CASES = DATA / "cases.jsonl"
OLD, NEW = DATA / "gpt-4o-2024-05-13.jsonl", DATA / "gpt-4o-2024-08-06.jsonl"
LARGE, SMALL = DATA / "Llama-3.1-70B-Instruct.jsonl", DATA / "Llama-3.1-8B-Instruct.jsonl"

RUBRIC = """\
name: correct
type: ExactMatch
exactMatch: {extract: ['answer is \\(?([A-J])\\)?']}
"""


def gate(cases: Path, incumbent: Path, candidate: Path, *more: str | Path) -> Result:
    files = ("--cases", cases, "--incumbent", incumbent, "--candidate", candidate)
    return CliRunner().invoke(main, ["gate", *(str(word) for word in (*files, *more))])


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Write 200 cases in two intents; the candidate fails every other one of the second."""
    cases = [
        {"id": f"{i}", "prompt": f"Question {i}?", "reference": "A", "intent": "ab"[i % 2]}
        for i in range(200)
    ]
    right = [{"id": f"{i}", "answer": "The answer is (A)."} for i in range(200)]
    wrong = [line | {"answer": "The answer is (B)."} if i % 4 == 1 else line for i, line in enumerate(right)]
    return (
        write(tmp_path / "cases.jsonl", cases),
        write(tmp_path / "old.jsonl", right),
        write(tmp_path / "new.jsonl", wrong),
    )


@pytest.fixture
def rubric(tmp_path: Path) -> Path:
    """Write a rubric's file."""
    path = tmp_path / "rubric.yaml"
    path.write_text(RUBRIC)
    return path


def test_two_close_versions_are_neither_better_nor_worse() -> None:
    """gpt-4o of May and of August 2024: 505 cases cannot tell, and 1,000 more could."""
    found = gate(CASES, OLD, NEW, "--json")
    assert found.exit_code == 3
    shown = json.loads(found.stdout)
    (score,) = shown["rubrics"]
    assert shown["verdict"] == score["verdict"] == "underpowered"
    assert score["overall"]["low"] < 0 < score["overall"]["high"]
    assert 1000 < score["overall"]["needed_n"] < 2000
    assert gate(CASES, OLD, NEW, "--allow-underpowered").exit_code == 0


def test_a_clear_loss_fails() -> None:
    """Llama-3.1 8B instead of 70B: 21 points."""
    found = gate(CASES, LARGE, SMALL)
    assert found.exit_code == 1
    assert "+21.2" in found.stdout
    assert "a drop of at least 16.8 points is proven" in found.stdout


def test_a_clear_gain_passes() -> None:
    """The other way round."""
    found = gate(CASES, SMALL, LARGE)
    assert found.exit_code == 0
    assert "better by at least 16.8 points" in found.stdout


def test_answers_are_scored_by_a_rubric(answers: tuple[Path, Path, Path], rubric: Path) -> None:
    """The references are the cases'; the intent with the damage is named."""
    found = gate(*answers, "--rubric", rubric, "--json")
    assert found.exit_code == 1
    (correct,) = json.loads(found.stdout)["rubrics"]
    assert (correct["incumbent"], correct["candidate"]) == (1.0, 0.75)
    assert {name: r["drop"] for name, r in correct["intents"].items()} == {"a": 0.0, "b": 0.5}


def test_a_policy_gives_rubrics_and_margins(answers: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """With a margin above the drop the same answers do not fail."""
    verdict = {"minimumDropPermille": 600, "toleratedDropPermille": 700}
    policy = {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingPolicy",
        "metadata": {"name": "support", "namespace": "chat"},
        "spec": {
            "gatewayRef": {"name": "default"},
            "match": {"hostnames": ["*"], "models": ["auto"]},
            "tiers": [{"name": "a", "model": "m", "endpoints": [{"url": "http://m.example/v1"}]}],
            "strategy": {"type": "Pinned", "pinned": {"tier": "a"}},
            "evaluation": {
                "rubrics": [
                    {
                        "name": "correct",
                        "type": "ExactMatch",
                        "exactMatch": {
                            "extract": [r"answer is \(?([A-J])\)?"],
                            "reference": {"dataset": {"uri": "configmap://x", "sha256": "0" * 64}},
                        },
                    }
                ]
            },
            "rollout": {"verdict": verdict},
        },
    }
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(policy))
    found = gate(*answers, "--policy", path)
    assert found.exit_code == 0, found.output
    assert "fails above a drop of 60.0 points, passes below 70.0 points" in found.stdout
    assert gate(*answers, "--policy", path, "--minimum-drop", "10").exit_code == 1


def test_missing_answers_are_told_or_left_out(answers: tuple[Path, Path, Path], rubric: Path) -> None:
    """A candidate without answers is no good candidate; leaving cases out must be asked for."""
    cases, old, new = answers
    new.write_text("".join(new.read_text().splitlines(keepends=True)[:-20]))
    found = gate(cases, old, new, "--rubric", rubric)
    assert found.exit_code == 2
    assert "has no answer to 20 of 200 cases, first 180" in " ".join(found.stderr.split())
    assert "Left out: 20 missing" in gate(cases, old, new, "--rubric", rubric, "--skip-missing").stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RUBRIC.replace("extract", "extracts"), "unknown field correct.exactMatch.extracts"),
        (RUBRIC.replace("[A-J]", "(?=x)"), "look-around"),
        ("name: correct", "is no rubric"),
        (": :", "is no rubric"),
    ],
)
def test_a_bad_rubric_is_wrong_usage(
    answers: tuple[Path, Path, Path], rubric: Path, content: str, words: str
) -> None:
    """It ends with 2 and names what is wrong."""
    rubric.write_text(content)
    found = gate(*answers, "--rubric", rubric)
    assert found.exit_code == 2
    assert words in found.stderr


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"answer": "x"}], "must name its case by id, promptSha256 or prompt"),
        ([{"id": "0"}], "must have an answer or a score"),
        ([{"id": "0", "score": 2}], "score: must be a number from 0"),
        ([{"id": "0", "score": 1}] * 2, "line 2: the same case as line 1"),
        ([{"id": "other", "score": 1}], "answers none of the cases"),
    ],
)
def test_bad_answers_are_told_by_line(
    answers: tuple[Path, Path, Path], tmp_path: Path, lines: list[dict[str, Any]], words: str
) -> None:
    """The file, the line and the remedy are named."""
    found = gate(answers[0], answers[1], write(tmp_path / "bad.jsonl", lines))
    assert found.exit_code == 2
    assert words in " ".join(found.stderr.split())


def test_answers_without_a_rubric_are_wrong_usage(answers: tuple[Path, Path, Path]) -> None:
    """Texts need something that scores them."""
    found = gate(*answers)
    assert found.exit_code == 2
    assert "--rubric or --policy" in found.stderr
