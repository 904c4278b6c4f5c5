"""ExactMatch: the answer's text against references that are found by the last user turn."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from pointsman.evaluator.rubrics import Case, Scored, Unscored, scorers
from pointsman.evaluator.rubrics.base import OFF_LOOP
from rubrics import POLICY, case, dataset, library, rubric

LINES = [{"prompt": "What is 2 + 2?", "reference": "4"}, {"prompt": "Capital?", "reference": "Paris"}]


async def score(given: Case, reference: dict[str, Any], **block: Any) -> Scored | Unscored:
    shared = library()
    (scorer,) = scorers([rubric("ExactMatch", {"reference": reference} | block)], shared.resources(POLICY))
    try:
        return await scorer.score(given)
    finally:
        await shared.close()


@pytest.mark.parametrize(
    ("answer", "block", "passed"),
    [
        (" 4\n", {}, True),
        ("It is 4", {}, False),
        ("It is 3. No: it is 4.", {"extract": [r"is (\d+)"]}, True),
        ("It is 4. No: it is 3.", {"extract": [r"(?s)\A.*?is (\d+)"]}, True),
        ("It is 4. No: it is 3.", {"extract": [r"is (\d+)"]}, False),
        ("= 4; perhaps 7", {"extract": [r"= (\d+)", r"\d+"]}, True),
        ("perhaps 7, or 4", {"extract": [r"= (\d+)", r"\d+"]}, True),
        ("nothing", {"extract": [r"\d+"]}, False),
        ("x " * OFF_LOOP + "is 4", {"extract": [r"is (\d+)"]}, True),
    ],
)
async def test_what_is_extracted_is_compared(
    tmp_path: Path, answer: str, block: dict[str, Any], *, passed: bool
) -> None:
    """The first pattern that matches counts, its last match, its group."""
    found = await score(case(answer), dataset(tmp_path / "refs.jsonl", LINES), **block)
    assert isinstance(found, Scored)
    assert found.passed is passed


async def test_case_counts_unless_it_is_ignored(tmp_path: Path) -> None:
    """`ignoreCase` folds both sides."""
    reference = dataset(tmp_path / "refs.jsonl", LINES)
    assert await score(case("PARIS", "Capital?"), reference) == Scored(passed=False)
    assert await score(case("PARIS", "Capital?"), reference, ignoreCase=True) == Scored(passed=True)


async def test_a_prompt_with_several_references_accepts_each(tmp_path: Path) -> None:
    """The same question twice in a data set has two right answers."""
    both = dataset(tmp_path / "refs.jsonl", [*LINES, LINES[0] | {"reference": "four"}])
    for answer, passed in (("4", True), ("four", True), ("5", False)):
        assert await score(case(answer), both) == Scored(passed)


async def test_no_reference_is_no_failure(tmp_path: Path) -> None:
    """An unknown prompt is not scored, not even if its answer is empty; nor is one that was not captured."""
    reference = dataset(tmp_path / "refs.jsonl", LINES)
    assert await score(case("4", "Unknown?"), reference) == Unscored("no_reference")
    assert await score(case("", "Unknown?"), reference) == Unscored("no_reference")
    assert await score(Case(None, "", "", "4"), reference) == Unscored("not_captured")


async def test_a_packed_data_set_is_unpacked(tmp_path: Path) -> None:
    """Gzip is known by its first bytes."""
    reference = dataset(tmp_path / "refs.jsonl.gz", LINES, pack=True)
    assert gzip.decompress((tmp_path / "refs.jsonl.gz").read_bytes())
    assert await score(case("4"), reference) == Scored(passed=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"prompt": "a", "reference": "b"}\n{"prompt": 1}\n', "line 2: prompt: must be a string"),
        (b'{"reference": "b"}', "line 1: must have prompt, messages, or promptSha256"),
        (b"[]", "line 1: is JSON, but not an object"),
        (b"\n", "holds no case"),
        (b"\x1f\x8bbroken", "cannot be unpacked"),
    ],
)
async def test_a_bad_data_set_is_told_by_line_and_field(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, words: str
) -> None:
    """The message has the field of the policy and the line of the file."""
    reference = dataset(tmp_path / "refs.jsonl", [])
    reference["dataset"]["sha256"] = _write(tmp_path / "refs.jsonl", content)
    assert await score(case("4"), reference) == Unscored("error")
    assert "rubrics[good].exactMatch.reference.dataset:" in caplog.text
    assert words in caplog.text


async def test_another_digest_is_another_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is not the file that the policy means scores nothing; both digests are named."""
    reference = dataset(tmp_path / "refs.jsonl", LINES)
    found = _write(tmp_path / "refs.jsonl", b'{"prompt": "What is 2 + 2?", "reference": "5"}')
    assert await score(case("5"), reference) == Unscored("error")
    assert found in caplog.text
    assert reference["dataset"]["sha256"] in caplog.text


def _write(path: Path, content: bytes) -> str:
    import hashlib

    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
