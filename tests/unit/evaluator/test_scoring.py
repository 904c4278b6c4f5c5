"""Scoring on a file that is copied at every transaction. The rest holds of every store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evaluator_builders import POLICY, POLITE, ROLLOUT, known_policies, rollout_status
from evaluator_rig import Rig
from pointsman.evaluator import intake
from pointsman.evaluator import writer as writer_module
from pointsman.evaluator.cases import PairRow, ShadowNote
from pointsman.evaluator.rows import Batch, Written
from pointsman.evaluator.store import Store
from pointsman.evaluator.totals import Series
from scoring_behaviour import *  # noqa: F403 - the tests that both databases run
from scoring_behaviour import VERSION, offer, served, settled, texts
from wait import until


async def test_a_crash_between_any_two_writes_counts_nothing_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files as each transaction left them, all deliveries made again: the same counts in the end."""
    monkeypatch.setattr(intake, "BATCH_ROWS", 1)
    monkeypatch.setattr(writer_module, "BATCH_S", 0.002)
    policies = known_policies(rubrics=[POLITE], status=rollout_status())
    pair = PairRow(
        POLICY, ROLLOUT, "gate", "case", "g", "law", "polite", VERSION, incumbent=True, candidate=False
    )
    note = ShadowNote(POLICY, ROLLOUT, "replayed", 5, "request-1")
    items = [served(1, session="s"), *texts(1, "please"), served(2, "candidate", captured=False), pair, note]
    cuts: list[Path] = []
    write = Store.write

    def cut(store: Store, batch: Batch) -> Written:
        written = write(store, batch)
        cuts.append(rig.folder.with_name(f"cut-{len(cuts)}"))
        shutil.copytree(rig.folder, cuts[-1])
        return written

    async def end(at: Rig) -> dict[Series, int]:
        async with at.scoring(policies) as (writer, scoring):
            offer(writer, *items)
            await settled(writer, 2)
            await until(lambda: not scoring.scored_until_us(1 << 60) and writer.backlog_s == 0)
        with Store(at.path) as store:
            return dict(store.totals())

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", cut)
        whole = await end(rig)
    assert len(cuts) >= len(items) + 2
    for folder in cuts:
        assert await end(Rig(folder)) == whole, folder.name
