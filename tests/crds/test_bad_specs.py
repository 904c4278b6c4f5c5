"""Bad specs: each refused by the real API server, with the field and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .bad_specs import BAD_SPECS, UNKNOWN_FIELDS, Bad, apply

if TYPE_CHECKING:
    from .conftest import Api

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("bad", BAD_SPECS, ids=lambda bad: bad.name)
def test_a_bad_spec_is_refused_with_field_and_remedy(
    api: Api, good: dict[str, dict[str, Any]], bad: Bad
) -> None:
    """The refusal names the field that is wrong and says what would be right."""
    answer = api.create(apply(good[bad.of], bad.change))
    assert answer.status == 422, answer.body
    assert bad.remedy in answer.causes().get(bad.field, ""), answer.body["message"]
    assert bad.remedy in answer.body["message"]


@pytest.mark.parametrize(("path", "value"), UNKNOWN_FIELDS, ids=[path for path, _ in UNKNOWN_FIELDS])
def test_an_unknown_field_is_refused_by_name(
    api: Api, good: dict[str, dict[str, Any]], path: str, value: Any
) -> None:
    """A field that does nothing is refused, not dropped in silence."""
    answer = api.create(apply(good["full"], {path: value}))
    assert answer.status == 400
    assert f'unknown field "{path}"' in answer.body["message"]


def test_a_bad_duration_gets_one_answer(api: Api, good: dict[str, dict[str, Any]]) -> None:
    """Only the field's own rule speaks: comparing idle with total does not fail on what is no duration."""
    answer = api.create(apply(good["full"], {"spec.tiers[0].timeouts.idle": "7d"}))
    assert list(answer.causes()) == ["spec.tiers[0].timeouts.idle"]
    assert answer.causes()["spec.tiers[0].timeouts.idle"].count("must ") == 1
