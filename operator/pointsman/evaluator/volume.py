"""How much room the store's volume has: a full one is known before it is full."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


class Volume(Collector):
    """Two gauges, read at each scrape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yield them; without samples where the volume does not answer."""
        free = GaugeMetricFamily(
            "pointsman_evaluator_store_volume_free_bytes", "Room left on the volume of the store's file."
        )
        size = GaugeMetricFamily(
            "pointsman_evaluator_store_volume_bytes", "Size of the volume of the store's file."
        )
        try:
            found = os.statvfs(self._folder)
        except OSError:
            pass
        else:
            free.add_metric((), found.f_bavail * found.f_frsize)
            size.add_metric((), found.f_blocks * found.f_frsize)
        yield from (free, size)

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: the names are checked where they are declared."""
        return ()
