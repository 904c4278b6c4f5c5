"""When a Triton may be asked: properties of the gate."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.agent.gate import PATIENCE_S, Needed, verdict
from pointsman.rollout.observation import Phase

PHASES = st.sampled_from(list(Phase))
NEEDED = st.builds(
    Needed,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    phase=PHASES,
    failing_s=st.floats(0, 2 * PATIENCE_S),
)


def ready(*needed: Needed, was_open: bool = False) -> bool:
    return verdict(needed, read=True, answers=True, was_open=was_open).ready


@settings(deadline=None)
@given(st.lists(NEEDED, max_size=6), st.booleans())
def test_nothing_is_promised_of_what_is_not_known(needed: list[Needed], was_open: bool) -> None:  # noqa: FBT001
    """Without a list, or without an answer of Triton, it is not ready, whatever it was."""
    assert not verdict(needed, read=False, answers=True, was_open=was_open).ready
    assert not verdict(needed, read=True, answers=False, was_open=was_open).ready


@settings(deadline=None)
@given(st.lists(NEEDED, max_size=6), st.booleans())
def test_all_loaded_is_ready(needed: list[Needed], was_open: bool) -> None:  # noqa: FBT001
    """Whatever came before: with every model in traffic loaded it is ready; with none needed, too."""
    loaded = [Needed(model.sha256, Phase.READY) for model in needed]
    assert ready(*loaded, was_open=was_open)


@settings(deadline=None)
@given(st.lists(NEEDED, min_size=1, max_size=6), st.booleans())
def test_with_none_loaded_it_is_never_ready(needed: list[Needed], was_open: bool) -> None:  # noqa: FBT001
    """Patience is for the sake of others: where nothing could be answered, it waits."""
    missing = [model for model in needed if model.phase != Phase.READY]
    if missing:
        assert not ready(*missing, was_open=was_open)


@settings(deadline=None)
@given(st.lists(NEEDED, min_size=1, max_size=6))
def test_it_opens_only_when_all_is_loaded_or_hopeless(needed: list[Needed]) -> None:
    """Before its first opening, each missing model must have failed for as long as its neighbours wait."""
    missing = [model for model in needed if model.phase != Phase.READY]
    opened = ready(*needed)
    if any(model.failing_s < PATIENCE_S for model in missing):
        assert not opened


@settings(deadline=None)
@given(st.lists(NEEDED, min_size=1, max_size=6))
def test_open_it_stays_open_while_one_answers(needed: list[Needed]) -> None:
    """One model that is lost does not take the others' requests away."""
    one = Needed("a" * 64, Phase.READY)
    assert ready(one, *needed, was_open=True)


def test_what_it_waits_for_is_said() -> None:
    """The words name the model and why it is not there."""
    missing = Needed("ab" * 32, Phase.FAILED, "CUDA out of memory")
    told = verdict([missing], read=True, answers=True, was_open=False).why
    assert told == "waits for pm-abababababab… (CUDA out of memory)"
