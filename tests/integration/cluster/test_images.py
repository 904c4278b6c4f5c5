"""Images are made twice alike, from nothing."""

from __future__ import annotations

from pathlib import Path

from pointsman.lab.images.catalog import Workshop, reference
from pointsman.lab.images.python import own
from pointsman.lab.images.store import Store


def test_our_layer_is_the_same_bytes_whoever_makes_it(tmp_path: Path) -> None:
    """Copied, compiled and packed in two places: one digest, so a node that has it takes no second one."""
    first, second = (own(Store(tmp_path / name), lambda _: None) for name in ("here", "there"))
    assert first == second
    assert first.blob.size > 1_000_000


def test_an_image_of_one_program_is_the_same_bytes_whoever_makes_it(tmp_path: Path) -> None:
    """Down to the program, which is compiled each time, and to the image's own digest."""
    first, second = (Workshop(folder=tmp_path / name).images(["pause"])[0] for name in ("here", "there"))
    assert first == second
    assert first.names[0] == reference("pause")
