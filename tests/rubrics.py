"""Rubrics for tests: short definitions, scorers without a cluster."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from pointsman.api.v1alpha1.meta import SecretKeyRef
from pointsman.api.v1alpha1.rubrics import BLOCKS, Rubric
from pointsman.evaluator.rubrics import Case, Library
from pointsman.fetching import Fetcher
from pointsman.gate.cases import prompt_sha256

POLICY = "chat/support"


def rubric(kind: str, block: dict[str, Any] | None = None, **more: Any) -> Rubric:
    """Return a rubric of a type."""
    settings = {} if block is None else {BLOCKS[kind]: block}  # type: ignore[index] # a wrong one fails the test
    return Rubric.model_validate({"name": "good", "type": kind, **settings, **more})


async def no_key(_namespace: str, _ref: SecretKeyRef) -> str:
    """Stand in where no judge has a key."""
    raise AssertionError("nobody needs a key here")


def library(registry: CollectorRegistry | None = None) -> Library:
    """Return what scorers share, with files allowed and no cluster."""
    fetcher = Fetcher(None, process="evaluator", allow_files=True, verify=False)
    return Library(fetcher, no_key, registry or CollectorRegistry())


def dataset(path: Path, lines: Iterable[dict[str, Any]], *, pack: bool = False) -> dict[str, Any]:
    """Write a data set and return the `reference` that names it."""
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if pack else content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"dataset": {"uri": f"file://{path}", "sha256": digest}}


def case(answer: str, question: str = "What is 2 + 2?", **more: Any) -> Case:
    """Return a captured request and its answer."""
    body = json.dumps({"messages": [{"role": "user", "content": question}]}).encode()
    return Case(body, prompt_sha256(question), question, answer, **more)
