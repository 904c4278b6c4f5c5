"""Metrics of the xds server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class XdsMetrics:
    """One set for a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("pointsman_xds_streams", "Connected Envoys.", ["gateway"], registry=registry)
        self.policies = Gauge(
            "pointsman_xds_policies", "Policies in the present target.", ["gateway"], registry=registry
        )
        self.quarantined = Gauge(
            "pointsman_xds_quarantined_policies",
            "Policies whose present plan Envoy refuses.",
            ["gateway"],
            registry=registry,
        )
        self.pushes = Counter(
            "pointsman_xds_pushes_total", "Responses sent.", ["gateway", "type"], registry=registry
        )
        self.acks = Counter(
            "pointsman_xds_acks_total", "Responses accepted.", ["gateway", "type"], registry=registry
        )
        self.nacks = Counter(
            "pointsman_xds_nacks_total", "Responses refused.", ["gateway", "type"], registry=registry
        )
        self.push_ack = Histogram(
            "pointsman_xds_push_ack_seconds",
            "From sending a response to Envoy's answer.",
            ["type"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.change_ack = Histogram(
            "pointsman_xds_change_ack_seconds",
            "From a watch event to the last Envoy's acknowledgement of what came of it.",
            registry=registry,
            buckets=_LATENCY,
        )
        self.compile = Histogram(
            "pointsman_xds_compile_seconds",
            "Translating a gateway's plans into a snapshot.",
            registry=registry,
            buckets=_LATENCY,
        )
        self.uncompiled = Counter(
            "pointsman_xds_uncompiled_total",
            "Targets that could not be translated or whose references did not resolve; nobody got them.",
            ["gateway"],
            registry=registry,
        )

        self.certificates = Gauge(
            "pointsman_xds_unusable_certificates",
            "Certificates of listeners that are missing, forbidden or garbled.",
            registry=registry,
        )

    def forget(self, gateway: str) -> None:
        """Drop a gateway's series."""
        for metric in (self.streams, self.policies, self.quarantined, self.uncompiled):
            metric.remove_by_labels({"gateway": gateway})
        for metric in (self.pushes, self.acks, self.nacks):
            metric.remove_by_labels({"gateway": gateway})
