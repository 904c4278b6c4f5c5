"""The list of models: what policies want becomes one list, and survives its way to the agents."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.pools.models import Model, ModelList, collect, dump, merged, parse
from pointsman.pools.place import pool_place
from pointsman.rollout.observation import Source
from pointsman.rollout.wants import Want

DIGESTS = st.sampled_from([letter * 64 for letter in "abcdef"])
SOURCES = st.builds(
    Source,
    namespace=st.sampled_from(["chat", "search"]),
    uri=st.sampled_from(["configmap://b"]),
    sha256=DIGESTS,
)
WANTS = st.builds(
    Want,
    url=st.sampled_from([pool_place("default"), pool_place("gpu"), "http://triton-0:8000"]),
    source=SOURCES,
    proven=st.booleans(),
    traffic=st.booleans(),
)
ALL = st.lists(st.frozensets(WANTS, max_size=5), max_size=5)


def listed(wants: list[frozenset[Want]], revision: int = 1) -> ModelList:
    return ModelList(collect(wants, "default"), revision)


@settings(deadline=None)
@given(ALL, st.integers(0, 1000))
def test_a_list_survives_its_way(wants: list[frozenset[Want]], revision: int) -> None:
    """What an agent reads is what the operator wrote, version and all."""
    sent = listed(wants, revision)
    assert parse(dump(sent)) == sent
    assert parse(dump(sent)).version == sent.version


@settings(deadline=None)
@given(ALL)
def test_each_bundle_is_listed_once_if_anybody_wants_it_there(wants: list[frozenset[Want]]) -> None:
    """Wants of other pools and servers do not count; traffic and proof are anybody's."""
    here = [want for of_policy in wants for want in of_policy if want.url == pool_place("default")]
    models = collect(wants, "default")
    assert [model.sha256 for model in models] == sorted({want.source.sha256 for want in here})
    for model in models:
        mine = [want for want in here if want.source.sha256 == model.sha256]
        assert model.traffic == any(want.traffic for want in mine)
        assert model.proven == any(want.proven for want in mine)
        assert set(model.sources) <= {want.source for want in mine}


@settings(deadline=None)
@given(ALL)
def test_the_order_of_policies_means_nothing(wants: list[frozenset[Want]]) -> None:
    """The same wants give the same text: nothing is written at rest."""
    shuffled = list(reversed(wants))
    assert dump(listed(wants)) == dump(listed(shuffled))


@settings(deadline=None)
@given(ALL, ALL)
def test_nothing_is_taken_away_while_not_everybody_has_spoken(
    before: list[frozenset[Want]], now: list[frozenset[Want]]
) -> None:
    """Right after a start of the operator the list only grows."""
    old, new = collect(before, "default"), collect(now, "default")
    both = merged(old, new)
    assert {model.sha256 for model in both} == {model.sha256 for model in (*old, *new)}
    held = {model.sha256: model for model in both}
    assert all(held[model.sha256].traffic or not model.traffic for model in (*old, *new))
    assert merged(both, new) == both


def test_another_flag_is_another_version() -> None:
    """A long poll hears of a model that came into traffic."""
    model = Model("a" * 64, (Source("chat", "configmap://b", "a" * 64),))
    assert ModelList((model,)).version != ModelList((replace(model, traffic=True),)).version


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"models": [{}], "revision": 1}', '{"models": 1, "revision": 2}']
)
def test_nonsense_is_no_list(text: str) -> None:
    """Whatever else lies in the file is refused, never read as an empty list."""
    with pytest.raises(ValueError, match=r".*"):
        parse(text)
