"""Clusters: a tier's endpoints, the way to its listener, the failover pair, Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2 as dns_common_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import string_pb2

from pointsman.address import is_ip, split_address
from pointsman.xds.translate import names
from pointsman.xds.translate.composite import cluster_config
from pointsman.xds.translate.resources import (
    ads,
    any_of,
    seconds,
    socket_address,
    struct,
    uint,
)

if TYPE_CHECKING:
    from pointsman.plan.types import Endpoint, SecretName, TierPlan, TritonPlan
    from pointsman.xds.translate.options import Options

DNS: Final = "envoy.clusters.dns"
"""Extension of clusters whose endpoints have names: they are not usable before DNS has answered."""
_MATCH: Final = "envoy.transport_socket_match"
"""Metadata of an endpoint that picks one of the cluster's transport sockets."""
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_IN_FLIGHT: Final = 65_536
"""Answers take minutes, so Envoy's default of 1,024 in flight would be a limit of ours; 3 retries more so."""
_TRITON_IN_FLIGHT: Final = 1_024
_TRITON_PENDING: Final = 256
_TRITON_NAMES_S: Final = 2
"""Between look-ups of a pool's pods: cluster DNS says 30 s, in which a rolling update replaces several."""


def upstream(tier: TierPlan, options: Options) -> cluster_pb2.Cluster:
    """Return the cluster of a tier's endpoints, which adds the tier's key to whatever is sent there."""
    secure = tier.endpoints[0].scheme == "https"
    cluster = _cluster(names.upstream_cluster(tier), options.connect_timeout_s)
    _place(cluster, [(e.host, e.port, authority(e)) for e in tier.endpoints])
    cluster.circuit_breakers.CopyFrom(_breakers(_IN_FLIGHT, _IN_FLIGHT))
    if len(tier.endpoints) > 1:
        cluster.outlier_detection.CopyFrom(_outliers(consecutive=5, base_s=10, longest_s=60, most_percent=50))
    if secure:
        _secure(cluster, tier, options)
    _speak(cluster, secure=secure, key=tier.api_key)
    return cluster


def to_listener(tier: TierPlan) -> cluster_pb2.Cluster:
    """Return the cluster that leads to the tier's internal listener: within the process, no socket."""
    cluster = _cluster(names.tier_listener(tier), 1)
    cluster.type = cluster_pb2.Cluster.STATIC
    cluster.circuit_breakers.CopyFrom(_breakers(_IN_FLIGHT, _IN_FLIGHT))
    address = address_pb2.Address(
        envoy_internal_address=address_pb2.EnvoyInternalAddress(
            server_listener_name=names.tier_listener(tier)
        )
    )
    cluster.load_assignment.CopyFrom(
        endpoint_pb2.ClusterLoadAssignment(
            cluster_name=cluster.name,
            endpoints=[
                endpoint_components_pb2.LocalityLbEndpoints(
                    lb_endpoints=[
                        endpoint_components_pb2.LbEndpoint(
                            endpoint=endpoint_components_pb2.Endpoint(address=address)
                        )
                    ]
                )
            ],
        )
    )
    inner = base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=any_of(raw_buffer_pb2.RawBuffer())
    )
    cluster.transport_socket.CopyFrom(
        base_pb2.TransportSocket(
            name="envoy.transport_sockets.internal_upstream",
            typed_config=any_of(internal_upstream_pb2.InternalUpstreamTransport(transport_socket=inner)),
        )
    )
    return cluster


def failover(tier: TierPlan, strong: TierPlan) -> cluster_pb2.Cluster:
    """Return the composite cluster: the first attempt goes to `tier`'s listener, the second to `strong`'s."""
    cluster = _cluster(names.failover_cluster(tier, strong), 1)
    cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    cluster.cluster_type.name = "envoy.clusters.composite"
    members = [names.tier_listener(tier), names.tier_listener(strong)]
    cluster.cluster_type.typed_config.CopyFrom(any_of(cluster_config(members)))
    cluster.circuit_breakers.CopyFrom(_breakers(_IN_FLIGHT, _IN_FLIGHT))
    return cluster


def direct_failover(tier: TierPlan, strong: TierPlan) -> cluster_pb2.Cluster:
    """Return the composite cluster whose first attempt goes straight to `tier`'s endpoints.

    Envoy applies the composite's own upstream filters to every attempt and those of its members to none
    (tried), so the key is added here; on the second attempt `strong`'s listener takes it off again.
    """
    cluster = failover(tier, strong)
    cluster.name = names.direct_cluster(tier, strong)
    members = [names.upstream_cluster(tier), names.tier_listener(strong)]
    cluster.cluster_type.typed_config.CopyFrom(any_of(cluster_config(members)))
    _speak(cluster, secure=False, key=tier.api_key)
    return cluster


def triton(plan: TritonPlan) -> cluster_pb2.Cluster:
    """Return the cluster of the classifier's servers. It gives up early: without it, strong serves."""
    cluster = _cluster(plan.id, 0.25)
    where = [(*split_address(address), address) for address in plan.addresses]
    _place(cluster, where, refresh_s=_TRITON_NAMES_S)
    cluster.circuit_breakers.CopyFrom(_breakers(_TRITON_IN_FLIGHT, _TRITON_PENDING))
    # behind one name there may be many: a pool's headless Service
    if len(plan.addresses) > 1 or not all(is_ip(host) for host, _, _ in where):
        cluster.outlier_detection.CopyFrom(_outliers(consecutive=3, base_s=1, longest_s=5, most_percent=100))
    _speak(cluster, secure=False, key=None, retry=_another_host())
    return cluster


def _another_host() -> route_components_pb2.RetryPolicy:
    """Return the policy that a request which reached nobody is sent to another host, once.

    A pod that has just gone is still in DNS for a moment. It computed nothing, so nothing is done twice.
    """
    previous = route_components_pb2.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    return route_components_pb2.RetryPolicy(
        retry_on="connect-failure,reset-before-request",
        num_retries=uint(1),
        retry_host_predicate=[previous],
        host_selection_retry_max_attempts=3,
    )


def authority(endpoint: Endpoint) -> str:
    """Return the Host header that an endpoint expects."""
    usual = {"http": 80, "https": 443}[endpoint.scheme]
    return endpoint.host if endpoint.port == usual else f"{endpoint.host}:{endpoint.port}"


def _cluster(name: str, connect_timeout_s: float) -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(name=name, connect_timeout=seconds(connect_timeout_s))


def _speak(
    cluster: cluster_pb2.Cluster,
    *,
    secure: bool,
    key: SecretName | None,
    retry: route_components_pb2.RetryPolicy | None = None,
) -> None:
    """Set the protocol (by ALPN under TLS, else HTTP/1.1) and the key that is added to every request.

    `retry` holds where no route has a policy of its own: for a script's calls.
    """
    http = http_protocol_options_pb2.HttpProtocolOptions()
    if secure:
        http.auto_config.http_protocol_options.SetInParent()
        http.auto_config.http2_protocol_options.SetInParent()
    else:
        http.explicit_http_config.http_protocol_options.SetInParent()
    if key is not None:
        codec = any_of(upstream_codec_pb2.UpstreamCodec())
        http.http_filters.append(_injector(key))
        http.http_filters.append(
            hcm_pb2.HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=codec)
        )
    if retry is not None:
        http.retry_policy.CopyFrom(retry)
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(http))


def _place(
    cluster: cluster_pb2.Cluster, where: list[tuple[str, int, str]], refresh_s: float | None = None
) -> None:
    """Set type, balancing and endpoints from (host, port, Host header).

    `refresh_s`: how often names are looked up; None: as long as their answers say.
    """
    by_name = not all(is_ip(host) for host, _, _ in where)
    if by_name:
        # As type STRICT_DNS, whose settings are deprecated.
        cluster.cluster_type.name = DNS
        dns = dns_cluster_pb2.DnsCluster(
            respect_dns_ttl=refresh_s is None, dns_lookup_family=dns_common_pb2.V4_PREFERRED
        )
        if refresh_s is not None:
            dns.dns_refresh_rate.CopyFrom(seconds(refresh_s))
        cluster.cluster_type.typed_config.CopyFrom(any_of(dns))
    else:
        cluster.type = cluster_pb2.Cluster.STATIC
    cluster.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    lb_endpoints = [
        endpoint_components_pb2.LbEndpoint(
            endpoint=endpoint_components_pb2.Endpoint(address=socket_address(host, port), hostname=hostname)
        )
        for host, port, hostname in where
    ]
    cluster.load_assignment.cluster_name = cluster.name
    cluster.load_assignment.endpoints.append(
        endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=lb_endpoints)
    )


def _breakers(requests: int, pending: int) -> circuit_breaker_pb2.CircuitBreakers:
    return circuit_breaker_pb2.CircuitBreakers(
        thresholds=[
            circuit_breaker_pb2.CircuitBreakers.Thresholds(
                max_connections=uint(requests),
                max_pending_requests=uint(pending),
                max_requests=uint(requests),
                max_retries=uint(requests),
            )
        ]
    )


def _outliers(
    *, consecutive: int, base_s: int, longest_s: int, most_percent: int
) -> outlier_detection_pb2.OutlierDetection:
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=uint(consecutive),
        interval=seconds(1),
        base_ejection_time=seconds(base_s),
        max_ejection_time=seconds(longest_s),
        max_ejection_percent=uint(most_percent),
    )


def _injector(key: SecretName) -> hcm_pb2.HttpFilter:
    generic = generic_pb2.Generic(credential=secret_pb2.SdsSecretConfig(name=key.resource, sds_config=ads()))
    return hcm_pb2.HttpFilter(
        name="envoy.filters.http.credential_injector",
        typed_config=any_of(
            credential_injector_pb2.CredentialInjector(
                overwrite=True,
                credential=extension_pb2.TypedExtensionConfig(
                    name="envoy.http.injected_credentials.generic", typed_config=any_of(generic)
                ),
            )
        ),
    )


def _secure(cluster: cluster_pb2.Cluster, tier: TierPlan, options: Options) -> None:
    """Set TLS that checks every endpoint's certificate against its own host, and no other's."""
    hosts = sorted({e.host for e in tier.endpoints})
    cluster.transport_socket.CopyFrom(_tls(hosts[0], options))
    if len(hosts) == 1:
        return
    # By host: the name that Envoy takes from an endpoint by itself is its Host header's, port and all.
    for host in hosts:
        match = cluster.transport_socket_matches.add(name=host, match=struct({"host": host}))
        match.transport_socket.CopyFrom(_tls(host, options))
    for endpoint in cluster.load_assignment.endpoints[0].lb_endpoints:
        host = endpoint.endpoint.address.socket_address.address
        endpoint.metadata.filter_metadata[_MATCH].CopyFrom(struct({"host": host}))


def _tls(host: str, options: Options) -> base_pb2.TransportSocket:
    context = tls_pb2.UpstreamTlsContext()
    common = context.common_tls_context
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    matcher = common_pb2.SubjectAltNameMatcher
    kind = matcher.IP_ADDRESS if is_ip(host) else matcher.DNS
    common.validation_context.trusted_ca.filename = options.ca_file
    common.validation_context.match_typed_subject_alt_names.append(
        matcher(san_type=kind, matcher=string_pb2.StringMatcher(exact=host))
    )
    if not is_ip(host):
        context.sni = host
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))
