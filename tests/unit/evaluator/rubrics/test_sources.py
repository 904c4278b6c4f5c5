"""Files of rubrics: fetched once, kept within bounds, tried again after a failure."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from prometheus_client import CollectorRegistry

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.evaluator import sources
from pointsman.evaluator.sources import SourceError, SourceMetrics, Sources
from pointsman.fetching import FetchError
from pointsman.rollout.observation import Source
from wait import until


class Shelf:
    """Where files come from; counts who asks."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    async def __call__(self, source: Source) -> bytes:
        """Give a file out, not at once."""
        self.asked.append(source.uri)
        await asyncio.sleep(0)
        if source.uri not in self.files:
            raise FetchError(ClassifierReadyReason.BUNDLE_NOT_FOUND, f"{source.uri} is not there")
        return self.files[source.uri]

    def put(self, uri: str, content: bytes) -> Source:
        """Lay a file down and return what a policy would name."""
        self.files[uri] = content
        return Source("chat", uri, hashlib.sha256(content).hexdigest())


def made(shelf: Shelf, memory_bytes: int = 1000) -> tuple[Sources[str], CollectorRegistry]:
    registry = CollectorRegistry()
    kept = Sources("dataset", shelf, bytes.decode, SourceMetrics(registry), memory_bytes=memory_bytes)
    return kept, registry


async def test_many_ask_and_one_fetches() -> None:
    """Whoever comes while a fetch is under way waits for it; later it is in memory."""
    shelf = Shelf()
    source = shelf.put("https://a/x", b"text")
    kept, registry = made(shelf)
    assert await asyncio.gather(*(kept.get(source) for _ in range(5))) == ["text"] * 5
    assert await kept.get(source) == "text"
    assert shelf.asked == ["https://a/x"]
    labels = {"what": "dataset", "outcome": "ok"}
    assert registry.get_sample_value("pointsman_evaluator_source_fetches_total", labels) == 1


async def test_a_new_digest_is_fetched_anew() -> None:
    """A policy that names a changed file gets the changed file."""
    shelf = Shelf()
    old = shelf.put("https://a/x", b"old")
    kept, _ = made(shelf)
    assert await kept.get(old) == "old"
    assert await kept.get(shelf.put("https://a/x", b"new")) == "new"


async def test_a_failure_is_told_at_once_and_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the pause nobody is asked; afterwards what has come is found."""
    monkeypatch.setattr(sources, "PAUSE_S", (0.05, 0.05))
    shelf = Shelf()
    source = shelf.put("https://a/x", b"text")
    del shelf.files[source.uri]
    kept, _ = made(shelf)
    for _ in range(3):
        with pytest.raises(SourceError, match="is not there"):
            await kept.get(source)
    assert len(shelf.asked) == 1
    shelf.put(source.uri, b"text")

    async def there() -> bool:
        try:
            return await kept.get(source) == "text"
        except SourceError:
            return False

    await until(there)


async def test_memory_is_bounded() -> None:
    """The least recently used file goes, and is fetched again when it is needed."""
    shelf = Shelf()
    first, second = shelf.put("https://a/1", b"x" * 600), shelf.put("https://a/2", b"y" * 600)
    kept, registry = made(shelf)
    await kept.get(first)
    await kept.get(second)
    size = registry.get_sample_value("pointsman_evaluator_source_bytes", {"what": "dataset"})
    assert size == 600
    assert len(await kept.get(first)) == 600
    assert shelf.asked == [first.uri, second.uri, first.uri]
