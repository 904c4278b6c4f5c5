"""Metrics of the traffic with the API server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class KubeMetrics:
    """One set for a process: made once with its registry, shared by client and informers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "pointsman_kube_requests_total",
            "Requests to the API server, one for each attempt; code is the HTTP status, or error or timeout.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_kube_request_duration_seconds",
            "Duration of one attempt (a watch: until its first byte of headers).",
            ["verb", "resource"],
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.retries = Counter(
            "pointsman_kube_retries_total",
            "Attempts that repeated a failed one.",
            ["verb", "resource"],
            registry=registry,
        )
        self.objects = Gauge(
            "pointsman_kube_informer_objects",
            "Objects in the cache.",
            ["resource"],
            registry=registry,
        )
        self.last_contact = Gauge(
            "pointsman_kube_informer_last_contact_timestamp_seconds",
            "When the cache last heard from the API server (list, event or bookmark), Unix time.",
            ["resource"],
            registry=registry,
        )
        self.relists = Counter(
            "pointsman_kube_informer_relists_total",
            "Whole lists read, the first one included.",
            ["resource"],
            registry=registry,
        )
        self.watch_ends = Counter(
            "pointsman_kube_informer_watch_ends_total",
            "Watches that ended; because is server (its time was over), gone, or error.",
            ["resource", "because"],
            registry=registry,
        )
