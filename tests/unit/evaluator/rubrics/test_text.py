"""Rubrics on the answer's text, each on answers that it must pass and fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pointsman.evaluator.rubrics import Case, Scored, Unscored, scorers
from pointsman.evaluator.rubrics.base import OFF_LOOP
from rubrics import POLICY, case, library, rubric

SCHEMA = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string", "pattern": r"^\pL+$"}},
    "patternProperties": {"^x-": {"type": "integer"}},
    "additionalProperties": False,
}
STRICT = {"inline": json.dumps(SCHEMA)}


async def verdict(kind: str, block: dict[str, Any] | None, given: Case, **more: Any) -> Scored | Unscored:
    shared = library()
    (scorer,) = scorers([rubric(kind, block, **more)], shared.resources(POLICY))
    found = await scorer.score(given)
    await shared.close()
    return found


@pytest.mark.parametrize(
    ("kind", "block", "answer", "passed"),
    [
        ("Contains", {"all": ["a", "b"]}, "b and a", True),
        ("Contains", {"all": ["a", "B"]}, "b and a", False),
        ("Contains", {"all": ["a", "B"], "ignoreCase": True}, "b and a", True),
        ("Contains", {"any": ["x", "y"]}, "only y", True),
        ("Contains", {"any": ["x", "t"]}, "neither", True),
        ("Contains", {"any": ["x", "z"]}, "neither", False),
        ("Contains", {"none": ["x"]}, "an x", False),
        ("Regex", {"pattern": r"\bSource:"}, "Text. Source: book", True),
        ("Regex", {"pattern": r"^Source:"}, "Text. Source: book", False),
        ("Regex", {"pattern": "TODO", "mustMatch": False}, "done", True),
        ("Regex", {"pattern": "TODO", "mustMatch": False}, "TODO", False),
        ("JSONSchema", STRICT, ' {"id": "äb", "x-n": 1} ', True),
        ("JSONSchema", STRICT, '{"id": "a1"}', False),
        ("JSONSchema", STRICT, '{"id": "a", "x-n": "1"}', False),
        ("JSONSchema", STRICT, '{"id": "a", "y": 1}', False),
        ("JSONSchema", STRICT, 'Here you are: {"id": "a"}', False),
        ("JSONSchema", STRICT, "[" * 100_000, False),
        ("JSONSchema", {"inline": '{"type": "number"}'}, "NaN", False),
        ("JSONSchema", STRICT | {"extract": ["(?s)```json(.*?)```"]}, '```json\n{"id": "a"}\n```', True),
        ("Length", {"minCharacters": 3, "maxCharacters": 5}, "  four  ", True),
        ("Length", {"minCharacters": 3}, "ab", False),
        ("Length", {"maxCharacters": 3}, "äöüß", False),
        ("Length", {"maxCharacters": OFF_LOOP}, "x" * (OFF_LOOP + 1), False),
        ("Refusal", None, "I'm sorry, but I can't help with that.", False),
        ("Refusal", None, "I cannot assist with this request.", False),
        ("Refusal", None, "Unfortunately, we are unable to provide medical advice.", False),
        ("Refusal", None, "As an AI language model, I can’t answer that.", False),
        ("Refusal", None, "I must decline.", False),
        ("Refusal", None, "The treaty says that states cannot refuse. I can help with the rest.", True),
        ("Refusal", None, "I'm sorry to hear that. Here is what you can do: rest.", True),
        ("Refusal", None, "I can't wait to see it! Here is the plan.", True),
        ("Refusal", {"patterns": ["(?i)nicht beantworten"]}, "Das kann ich nicht beantworten.", False),
    ],
)
async def test_an_answer_passes_or_fails(
    kind: str, block: dict[str, Any] | None, answer: str, *, passed: bool
) -> None:
    """Each type does what its description says."""
    found = await verdict(kind, block, case(answer))
    assert isinstance(found, Scored)
    assert found.passed is passed


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        ("Contains", {"none": ["x"]}),
        ("Regex", {"pattern": "x", "mustMatch": False}),
        ("Length", {"maxCharacters": 5}),
        ("Refusal", None),
        ("JSONSchema", STRICT),
    ],
)
async def test_an_empty_answer_fails_every_rubric(kind: str, block: dict[str, Any] | None) -> None:
    """Saying nothing is not good, even where nothing is what is asked to be missing."""
    assert await verdict(kind, block, case(" \n")) == Scored(passed=False, note="empty answer")


async def test_a_tool_call_is_no_empty_answer() -> None:
    """Rubrics on text are not about an answer that only calls tools."""
    call = case("", messages=[{"content": "", "tool_calls": [{"name": "f", "arguments": {}}]}])
    assert await verdict("Length", {"minCharacters": 1}, call) == Unscored("not_applicable")


async def test_a_refusal_in_its_own_field_is_one() -> None:
    """OpenAI's `refusal` is believed, whatever the text."""
    refused = case("", messages=[{"content": "", "refusal": "I won't."}])
    assert await verdict("Refusal", None, refused) == Scored(passed=False, note="refusal field")


async def test_a_cut_answer_is_scored_only_where_it_is_certain() -> None:
    """What was not seen decides nothing; too long is too long."""
    cut = case("x" * 10, truncated=True)
    assert await verdict("Regex", {"pattern": "y"}, cut) == Unscored("truncated")
    assert await verdict("Length", {"maxCharacters": 12}, cut) == Unscored("truncated")
    for block, passed in (({"maxCharacters": 9}, False), ({"minCharacters": 9}, True)):
        found = await verdict("Length", block, cut)
        assert isinstance(found, Scored)
        assert found.passed is passed


async def test_a_rubric_is_only_about_its_intents() -> None:
    """Another intent, or an unknown one, is not scored, and lowers no coverage."""
    when, block = {"intents": ["law"]}, {"minCharacters": 1}
    assert await verdict("Length", block, case("a", intent=""), when=when) == Unscored("not_applicable")
    assert isinstance(await verdict("Length", block, case("a", intent="law"), when=when), Scored)


@pytest.mark.parametrize(
    ("kind", "block", "words"),
    [
        ("Regex", {"pattern": "(?=a)"}, "RE2"),
        ("JSONSchema", {"inline": '{"pattern": "(?=a)"}'}, "RE2"),
        ("JSONSchema", {"inline": "{{"}, "not JSON"),
        ("JSONSchema", {"inline": '{"type": "text"}'}, "no JSON Schema"),
        ("JSONSchema", {"inline": '{"$ref": "https://example.com/schema.json"}'}, "cannot score"),
        ("Length", None, "must have the settings of type Length"),
        (
            "ExactMatch",
            {"extract": ["(a)(b)"], "reference": {"dataset": {"uri": "configmap://x", "sha256": "0" * 64}}},
            "2 groups",
        ),
    ],
)
async def test_a_bad_rubric_scores_nothing_and_says_why_once(
    kind: str, block: dict[str, Any] | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One bad rubric stops no other; its field is named; no answer is in the log; nothing is fetched."""
    shared = library()
    bad, good = scorers([rubric(kind, block), rubric("Refusal", name="ok")], shared.resources(POLICY))
    for _ in range(3):
        assert await bad.score(case('"the secret answer"')) == Unscored("error")
    assert isinstance(await good.score(case("Fine.")), Scored)
    await shared.close()
    (told,) = [record.getMessage() for record in caplog.records]
    assert "spec.evaluation.rubrics[good]" in told
    assert words in told
    assert "secret" not in told
