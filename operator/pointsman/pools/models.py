"""The list of models that a pool's Tritons shall hold: what operator and agents exchange. Pure.

It lies in a ConfigMap, so that agents can do without an operator, and travels by long poll, to be prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pointsman.pools.place import pool_place
from pointsman.rollout.observation import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.rollout.wants import Want

KEY: Final = "models.json"
"""Key of the list within its ConfigMap."""
_MOST_SOURCES: Final = 4
"""Of one bundle: the others are of no more use, and the list must fit a ConfigMap."""


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle that every Triton of the pool shall hold."""

    sha256: str
    sources: tuple[Source, ...]
    """Where it can be had, as the policies say it."""
    proven: bool = False
    """It has served before: that Triton calls it ready is enough."""
    traffic: bool = False
    """Requests are classified by it: a new pod is not ready without it."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """What a pool's Tritons shall hold, by digest."""

    models: tuple[Model, ...] = ()
    revision: int = 0
    """Grows with every change: of two lists the greater one is newer."""

    @property
    def version(self) -> str:
        """Names this very list: what a long poll waits for a change of."""
        return hashlib.sha256(dump(self).encode()).hexdigest()[:16]


def collect(wants: Iterable[frozenset[Want]], pool: str) -> tuple[Model, ...]:
    """Return what policies want on a pool, each bundle once."""
    found: dict[str, list[Want]] = defaultdict(list)
    for of_policy in wants:
        for want in of_policy:
            if want.url == pool_place(pool):
                found[want.source.sha256].append(want)
    return tuple(
        Model(
            sha256,
            _sources(want.source for want in wanted),
            proven=any(want.proven for want in wanted),
            traffic=any(want.traffic for want in wanted),
        )
        for sha256, wanted in sorted(found.items())
    )


def merged(present: Iterable[Model], wanted: Iterable[Model]) -> tuple[Model, ...]:
    """Return both: while not every policy has said what it wants, nothing is taken away."""
    found = {model.sha256: model for model in present}
    for model in wanted:
        old = found.get(model.sha256, model)
        found[model.sha256] = replace(
            model, proven=model.proven or old.proven, traffic=model.traffic or old.traffic
        )
    return tuple(model for _, model in sorted(found.items()))


def dump(models: ModelList) -> str:
    """Return a list as text; the same list gives the same text."""
    plain = {
        "revision": models.revision,
        "models": [
            {
                "sha256": model.sha256,
                "sources": [{"namespace": one.namespace, "uri": one.uri} for one in model.sources],
                "proven": model.proven,
                "inTraffic": model.traffic,
            }
            for model in models.models
        ],
    }
    return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def parse(text: str) -> ModelList:
    """Read a list; ValueError if it is none."""
    try:
        plain = json.loads(text)
        return ModelList(tuple(_model(one) for one in plain["models"]), int(plain["revision"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no list of models: {error!r}") from error


def _model(plain: Mapping[str, Any]) -> Model:
    sha256 = str(plain["sha256"])
    return Model(
        sha256,
        tuple(Source(str(one["namespace"]), str(one["uri"]), sha256) for one in plain["sources"]),
        proven=bool(plain.get("proven")),
        traffic=bool(plain.get("inTraffic")),
    )


def _sources(sources: Iterable[Source]) -> tuple[Source, ...]:
    return tuple(sorted(set(sources), key=lambda one: (one.namespace, one.uri))[:_MOST_SOURCES])
