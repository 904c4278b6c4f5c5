"""An evaluator's /metrics whose counts a test sets, for a real Prometheus; and questions about them."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from prometheus_client import CollectorRegistry

from pointsman.clock import system_clock
from pointsman.controllers.evidence import EvidenceMetrics
from pointsman.controllers.look import Looker
from pointsman.controllers.prometheus import Prometheus as Door
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Target
from pointsman.rollout.evidence import Evidence, Question

RESULTS = "pointsman_rubric_results_total"
PAIRS = "pointsman_rubric_pairs_total"
HALVES = "pointsman_rubric_halves_total"
MOMENTS = "pointsman_rubric_session_moments_total"
UNSCORED = "pointsman_rubric_unscored_total"
SCORED_UNTIL = "pointsman_rollout_scored_until_timestamp_seconds"

Labels = tuple[tuple[str, str], ...]


def now_s() -> float:
    """Return the Unix time."""
    return system_clock().timestamp()


class Exporter:
    """A context manager that serves; `stop` and `start` again keep address and counts."""

    def __init__(self) -> None:
        self.address = f"{LOCALHOST}:{free_port()}"
        self.counts: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self.live: set[Labels] = set()
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Count."""
        with self._lock:
            self.counts[name, tuple(sorted(labels.items()))] += amount

    def served(
        self,
        rollout: str,
        step: int,
        arm: str,
        passes: int,
        fails: int,
        *,
        rubric: str = "correct",
        version: str = "v1",
        intent: str = "",
        namespace: str = "chat",
        policy: str = "support",
    ) -> None:
        """Count scored answers of one arm."""
        for outcome, amount in (("pass", passes), ("fail", fails)):
            labels = {"rollout": rollout, "step": str(step), "arm": arm, "stage": "canary", "tier": "cheap"}
            labels |= {"rubric": rubric, "version": version, "intent": intent, "outcome": outcome}
            self.add(RESULTS, amount, namespace=namespace, policy=policy, **labels)

    def halved(self, half: str, passes: int, fails: int, *, revision: str, intent: str = "") -> None:
        """Count scored answers of a revision's own requests."""
        labels = {"namespace": "chat", "policy": "support", "rubric": "correct", "version": "v1"}
        labels |= {"revision": revision, "intent": intent, "half": half}
        self.add(HALVES, passes, **labels, outcome="pass")
        self.add(HALVES, fails, **labels, outcome="fail")

    def forget(self, namespace: str) -> None:
        """Drop all series of a namespace."""
        with self._lock:
            mine = ("namespace", namespace)
            for key in [key for key in self.counts if mine in key[1]]:
                del self.counts[key]
            self.live = {labels for labels in self.live if mine not in labels}

    def know(self, rollout: str, *, namespace: str = "chat", policy: str = "support") -> None:
        """Tell of a rollout from now on: all that was served is scored."""
        with self._lock:
            labels = {"namespace": namespace, "policy": policy, "rollout": rollout}
            self.live.add(tuple(sorted(labels.items())))

    def exposition(self) -> bytes:
        """Return /metrics as text."""
        with self._lock:
            values = [*self.counts.items()]
            values += [((SCORED_UNTIL, labels), now_s()) for labels in self.live]
        values.append((("pointsman_access_log_entries_total", ()), 1.0))
        lines = [f"{name}{{{_braced(labels)}}} {value}" for (name, labels), value in sorted(values)]
        return ("\n".join(lines) + "\n").encode()

    def start(self) -> None:
        """Serve."""
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                with suppress(ConnectionError):  # a scrape that took too long on a busy machine
                    self.wfile.write(exporter.exposition())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        host, _, port = self.address.partition(":")
        self._server = ThreadingHTTPServer((host, int(port)), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End serving: from now on scrapes fail."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _braced(labels: Labels) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels if value)


def target(exporter: Exporter) -> Target:
    """Return where Prometheus scrapes it, every second."""
    return Target(exporter.address, interval_s=1)


def looker(url: str) -> Looker:
    """Return a reader that knows nothing yet."""
    return Looker(Door(url, EvidenceMetrics(CollectorRegistry()).prometheus))


def question(rollout: str, *begins_s: float, window_s: float = 1.0, **more: Any) -> Question:
    """Return what the policy chat/support asks, steps numbered from 0."""
    fields: dict[str, Any] = {
        "namespace": "chat",
        "policy": "support",
        "prometheus": "",
        "versions": (("correct", "v1"), ("answered", "guard")),
    }
    return Question(**(fields | more), window_s=window_s, rollout=rollout, steps=tuple(enumerate(begins_s)))


def ask(reader: Looker, one: Question) -> Evidence:
    """Return the answer to one question."""
    return reader.look([one])[one]
