"""Each case: what the manifests become, compared with what they became before."""

from __future__ import annotations

import pytest

from .cases import CASES, HERE, IN, outputs


@pytest.mark.parametrize("case", CASES)
def test_the_case_becomes_what_it_became(case: str, update: bool) -> None:  # noqa: FBT001 - a fixture
    """Plan and Envoy configuration are as stored; `--update-golden` stores them anew."""
    for name, text in outputs(case).items():
        path = HERE / case / name
        if update:
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{case}/{name} is missing; pytest tests/golden --update-golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{case}/{name}: if this is meant, --update-golden"


@pytest.mark.parametrize("case", CASES)
def test_the_case_says_what_it_is_about(case: str) -> None:
    """The first line of every `in.yaml` is a comment of one sentence."""
    first = (HERE / case / IN).read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("# ")
    assert first.endswith(".")


def test_no_file_is_an_orphan() -> None:
    """Nothing lies about that no case reads or writes."""
    expected = {HERE / case / name for case in CASES for name in (IN, "plan.yaml", "xds.yaml")}
    expected |= {HERE / f"{name}.py" for name in ("cases", "conftest", "test_golden", "test_envoy")}
    found = {path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert found == expected
