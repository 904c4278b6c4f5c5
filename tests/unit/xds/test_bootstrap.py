"""Envoy's bootstrap: well-formed for Envoy's own types, and what it says of addresses, TLS and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2  # noqa: F401 - opens an Any
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # noqa: F401 - opens an Any
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 - opens an Any
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401 - opens an Any
)
from envoy.extensions.resource_monitors.downstream_connections.v3 import (
    downstream_connections_pb2,  # noqa: F401 - opens an Any
)
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2  # noqa: F401 - opens an Any
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401 - opens an Any
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401 - opens an Any
from google.protobuf import json_format

from pointsman.contract import (
    CLUSTER_ACCESS_LOG,
    CLUSTER_CAPTURE,
    CLUSTER_XDS,
    ENTRY_STAT_PREFIX,
    SHADOW_STAT_PREFIX,
)
from pointsman.xds.bootstrap import Renewal, ShadowListener, Tls, bootstrap, sds_files

XDS_TLS = Tls("/ca.pem", "/cert.pem", "/key.pem", "pointsman-xds")
EVALUATOR_TLS = Tls("/ca.pem", "/cert.pem", "/key.pem", "pointsman-evaluator")
RENEWED = Tls("/tls/ca.crt", "/tls/tls.crt", "/tls/tls.key", "pointsman-xds", Renewal("/tls", "/etc/envoy"))
SHADOW = ShadowListener("127.0.0.1:18003")


def made(**changes: Any) -> dict[str, Any]:
    """Return a bootstrap."""
    given: dict[str, Any] = {
        "gateway": "default",
        "node_id": "n",
        "admin_address": "127.0.0.1:9901",
        "xds_addresses": ["10.0.0.1:18000", "10.0.0.2:18000"],
        "access_log_address": "127.0.0.1:18001",
        "capture_address": "127.0.0.1:18002",
    }
    return bootstrap(**given | changes)


def cluster(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one of its clusters."""
    (found,) = [c for c in value["static_resources"]["clusters"] if c["name"] == name]
    return dict(found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"xds_tls": XDS_TLS, "evaluator_tls": EVALUATOR_TLS},
        {"xds_addresses": ["xds.svc:18000"]},
        {"shadow": SHADOW},
        {"shadow": ShadowListener(SHADOW.address, EVALUATOR_TLS)},
        {"xds_tls": RENEWED, "shadow": ShadowListener(SHADOW.address, RENEWED), "heap_bytes": 1},
    ],
    ids=["plain", "tls", "dns", "shadow", "shadow-tls", "renewed"],
)
def test_envoys_types_know_every_field(changes: dict[str, Any]) -> None:
    """It survives JSON and parses as Envoy's Bootstrap, packed parts too."""
    parsed = json_format.ParseDict(json.loads(json.dumps(made(**changes))), bootstrap_pb2.Bootstrap())
    assert (parsed.node.id, parsed.node.cluster) == ("n", "default")
    assert parsed.dynamic_resources.ads_config.api_type == config_source_pb2.ApiConfigSource.DELTA_GRPC
    assert len(parsed.static_resources.clusters) == 3


def test_all_that_is_dynamic_comes_over_one_stream() -> None:
    """Listeners and clusters are asked from ADS, and ADS from our cluster."""
    dynamic = made()["dynamic_resources"]
    asked = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    assert dynamic["lds_config"] == dynamic["cds_config"] == asked
    (service,) = dynamic["ads_config"]["grpc_services"]
    assert service["envoy_grpc"]["cluster_name"] == CLUSTER_XDS


def test_every_xds_server_is_an_endpoint() -> None:
    """With one server gone, Envoy has the other."""
    (locality,) = cluster(made(), CLUSTER_XDS)["load_assignment"]["endpoints"]
    sockets = [e["endpoint"]["address"]["socket_address"] for e in locality["lb_endpoints"]]
    assert [(s["address"], s["port_value"]) for s in sockets] == [("10.0.0.1", 18000), ("10.0.0.2", 18000)]


@pytest.mark.parametrize(
    ("address", "kind", "host"),
    [
        ("xds.pointsman.svc:18000", "STRICT_DNS", "xds.pointsman.svc"),
        ("10.0.0.1:18000", "STATIC", "10.0.0.1"),
        ("[::1]:18000", "STATIC", "::1"),
    ],
)
def test_names_are_asked_from_dns(address: str, kind: str, host: str) -> None:
    """A name needs DNS, an address does not; brackets belong to the notation alone."""
    found = cluster(made(xds_addresses=[address]), CLUSTER_XDS)
    assert found["type"] == kind
    (endpoint,) = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"]["address"] == host


def test_grpc_needs_http2_and_a_heartbeat() -> None:
    """Both gRPC clusters speak HTTP/2 and notice a server that vanished; captures are plain HTTP/1.1."""

    def protocol(name: str) -> dict[str, Any]:
        (options,) = cluster(made(), name)["typed_extension_protocol_options"].values()
        return dict(options["explicit_http_config"])

    for name in (CLUSTER_XDS, CLUSTER_ACCESS_LOG):
        assert "connection_keepalive" in protocol(name)["http2_protocol_options"]
    assert list(protocol(CLUSTER_CAPTURE)) == ["http_protocol_options"]


def test_tls_is_mutual_and_checks_the_name() -> None:
    """Each server's certificate must carry its own name; ours is shown; nothing below TLS 1.3."""
    value = made(xds_tls=XDS_TLS, evaluator_tls=EVALUATOR_TLS)
    for name, server in (
        (CLUSTER_XDS, "pointsman-xds"),
        (CLUSTER_ACCESS_LOG, "pointsman-evaluator"),
        (CLUSTER_CAPTURE, "pointsman-evaluator"),
    ):
        context = cluster(value, name)["transport_socket"]["typed_config"]
        common = context["common_tls_context"]
        assert context["sni"] == server
        (san,) = common["validation_context"]["match_typed_subject_alt_names"]
        assert san["matcher"] == {"exact": server}
        assert common["tls_certificates"][0]["private_key"] == {"filename": "/key.pem"}
        assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"


def test_without_tls_nothing_says_so() -> None:
    """No half of it is left in."""
    assert "transport_socket" not in json.dumps(made())


def test_captures_in_flight_are_bounded() -> None:
    """What copies may take of Envoy's memory has a limit; requests themselves have none there."""
    (limits,) = cluster(made(), CLUSTER_CAPTURE)["circuit_breakers"]["thresholds"]
    assert limits["max_requests"] <= 256
    assert "circuit_breakers" not in cluster(made(), CLUSTER_XDS)


def test_an_address_without_port_is_refused() -> None:
    """The one thing that can be wrong with an address is named."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1: not host:port"):
        made(admin_address="127.0.0.1")


def shadow(tls: Tls | None = None) -> dict[str, Any]:
    """Return the shadow listener of a bootstrap."""
    (found,) = made(shadow=ShadowListener("127.0.0.1:18003", tls))["static_resources"]["listeners"]
    return dict(found)


def test_the_shadow_listener_is_there_only_if_asked_for() -> None:
    """It spends the tiers' keys: no bootstrap opens it by itself."""
    assert "listeners" not in made()["static_resources"]
    assert shadow()["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 18003}}


def test_the_shadow_listener_counts_apart_and_logs_nothing() -> None:
    """Replays are neither among the clients' requests nor in the access log; their routes come over ADS."""
    (chain,) = shadow()["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    assert manager["stat_prefix"] == SHADOW_STAT_PREFIX
    assert manager["stat_prefix"] != ENTRY_STAT_PREFIX
    assert "access_log" not in manager
    assert "ads" in manager["rds"]["config_source"]
    assert [f["name"] for f in manager["http_filters"]] == ["pointsman.shadow", "envoy.filters.http.router"]


@pytest.mark.parametrize(("name", "kind"), [("pointsman-evaluator", "DNS"), ("spiffe://x/evaluator", "URI")])
def test_the_shadow_listener_asks_for_the_evaluators_certificate(name: str, kind: str) -> None:
    """Another certificate of the same authority, an Envoy's say, opens nothing."""
    (chain,) = shadow(Tls("/ca.pem", "/cert.pem", "/key.pem", name))["filter_chains"]
    context = chain["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is True
    (san,) = context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert san == {"san_type": kind, "matcher": {"exact": name}}


def test_renewed_files_are_watched_where_kubelet_swaps_them() -> None:
    """Both directions refer to the same two files of SDS, which name the folder to watch."""
    value = made(xds_tls=RENEWED, evaluator_tls=RENEWED, shadow=ShadowListener(SHADOW.address, RENEWED))
    assert '"filename"' not in json.dumps(value["static_resources"])
    upstream = cluster(value, CLUSTER_XDS)["transport_socket"]["typed_config"]["common_tls_context"]
    listener = value["static_resources"]["listeners"][0]["filter_chains"][0]
    downstream = listener["transport_socket"]["typed_config"]["common_tls_context"]
    assert upstream == downstream
    (config,) = upstream["tls_certificate_sds_secret_configs"]
    assert config["sds_config"]["path_config_source"] == {"path": "/etc/envoy/sds-certificate.json"}
    files = sds_files(RENEWED)
    assert set(files) == {"sds-certificate.json", "sds-authority.json"}
    certificate = files["sds-certificate.json"]["resources"][0]["tls_certificate"]
    assert certificate["private_key"] == {"filename": "/tls/tls.key"}
    assert certificate["watched_directory"] == {"path": "/tls"}
    authority = files["sds-authority.json"]["resources"][0]["validation_context"]
    assert authority == {"trusted_ca": {"filename": "/tls/ca.crt"}, "watched_directory": {"path": "/tls"}}


def test_memory_is_bounded_only_where_somebody_says_by_what() -> None:
    """Connections always are; with a heap, requests are refused before the kernel ends Envoy."""
    assert len(made()["overload_manager"]["resource_monitors"]) == 1
    limits = made(heap_bytes=2**30)["overload_manager"]
    assert limits["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"] == 2**30
    acts = {action["name"].rpartition(".")[2]: action["triggers"] for action in limits["actions"]}
    assert acts["shrink_heap"][0]["threshold"] == {"value": 0.9}
    assert acts["stop_accepting_requests"][0]["threshold"] == {"value": 0.98}


def test_the_admin_interface_is_reached_only_by_its_harmless_paths() -> None:
    """Exact paths, GET alone; everything else ends in Envoy itself."""
    value = made(stats_address="0.0.0.0:9902")
    (listener,) = value["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    forwarded = [route for route in routes if "route" in route]
    assert [route["match"]["path"] for route in forwarded] == [
        "/ready",
        "/stats",
        "/stats/prometheus",
        "/server_info",
    ]
    assert all(route["match"]["headers"][0]["string_match"] == {"exact": "GET"} for route in forwarded)
    assert "pointsman-admin" not in json.dumps(made())
