"""The entry listeners: what clients connect to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2, grpc_service_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from pointsman.address import split_address
from pointsman.contract import ACCESS_LOG_NAME, CLUSTER_ACCESS_LOG, ENTRY_STAT_PREFIX, Header
from pointsman.xds.translate import names
from pointsman.xds.translate.headers import drop_forbidden
from pointsman.xds.translate.managers import local_replies, lua_filter, router_filter
from pointsman.xds.translate.resources import (
    ads,
    any_of,
    ms,
    seconds,
    socket_address,
    true,
    uint,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.plan.types import CertificateName, ListenerPlan
    from pointsman.xds.translate.options import Options

_LOG_BUFFER: Final = 8 * 1024 * 1024
"""About 60 s of entries at 200 requests/s: what an evaluator's restart may take before entries are lost."""


_CONNECTION_S: Final = 3_600
"""A connection older than this is ended after its requests: so clients find Envoys that came later."""
_HANDSHAKE_S: Final = 10
_BUFFER: Final = 1024 * 1024


def listener(options: Options) -> listener_pb2.Listener:
    """Return the one entry listener where there is no RoutingGateway."""
    host, port = split_address(options.entry_address)
    return _listener(names.ENTRY, host, port, _manager(options))


def gateway_listener(plan: ListenerPlan, options: Options) -> listener_pb2.Listener:
    """Return a listener of a RoutingGateway; of `options.entry_address` only the host counts."""
    manager = _manager(options)
    manager.common_http_protocol_options.max_connection_duration.CopyFrom(seconds(_CONNECTION_S))
    manager.http1_safe_max_connection_duration = True
    host, _ = split_address(options.entry_address)
    made = _listener(names.entry_listener(plan), host, plan.port, manager)
    # A body as long as this is buffered whatever a host allows.
    made.per_connection_buffer_limit_bytes.value = min(_BUFFER, options.body_limit)
    if plan.certificates:
        (chain,) = made.filter_chains
        chain.transport_socket.CopyFrom(_tls(plan.certificates))
        chain.transport_socket_connect_timeout.CopyFrom(seconds(_HANDSHAKE_S))
    return made


def _tls(certificates: Sequence[CertificateName]) -> base_pb2.TransportSocket:
    """Return TLS that shows the certificate which fits the client's SNI, else the first."""
    common = tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[
            secret_pb2.SdsSecretConfig(name=certificate.resource, sds_config=ads())
            for certificate in certificates
        ],
        alpn_protocols=["h2", "http/1.1"],
    )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))


def _manager(options: Options) -> hcm_pb2.HttpConnectionManager:
    """Return what is done with clients' requests, whichever listener they come by."""
    filters = [
        lua_filter(names.DISPATCH, "dispatch"),
        lua_filter(names.DECIDE, "decide"),
        router_filter(),
    ]
    if options.compress:
        # First in the list: answers pass it last, after the script that reads them.
        filters.insert(0, _compressor())
    return hcm_pb2.HttpConnectionManager(
        stat_prefix=ENTRY_STAT_PREFIX,
        rds=hcm_pb2.Rds(route_config_name=names.ENTRY, config_source=ads()),
        http_filters=filters,
        early_header_mutation_extensions=[drop_forbidden()],
        access_log=[_access_log()],
        local_reply_config=local_replies(),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(3600),
            headers_with_underscores_action=protocol_pb2.HttpProtocolOptions.REJECT_REQUEST,
        ),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(
            max_concurrent_streams=uint(128),
            initial_stream_window_size=uint(256 * 1024),
            initial_connection_window_size=uint(1024 * 1024),
        ),
        # Time-outs of an answer are its tier's; these bound what a client may hold open.
        stream_idle_timeout=seconds(300),
        request_timeout=seconds(300),
        request_headers_timeout=seconds(30),
        delayed_close_timeout=seconds(1),
        max_request_headers_kb=uint(60),
        use_remote_address=true(),
        # Nobody is internal: x-request-id and x-envoy-* are always ours.
        internal_address_config=hcm_pb2.HttpConnectionManager.InternalAddressConfig(),
        generate_request_id=true(),
        always_set_request_id_in_response=True,
        normalize_path=true(),
        merge_slashes=True,
        server_name="pointsman",
    )


def _listener(
    name: str, host: str, port: int, manager: hcm_pb2.HttpConnectionManager
) -> listener_pb2.Listener:
    network = listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=any_of(manager)
    )
    return listener_pb2.Listener(
        name=name,
        address=socket_address(host, port),
        filter_chains=[listener_components_pb2.FilterChain(filters=[network])],
        per_connection_buffer_limit_bytes=uint(_BUFFER),
    )


def _access_log() -> accesslog_pb2.AccessLog:
    """Return the log of every request, over gRPC: the source of every count."""
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=CLUSTER_ACCESS_LOG)
    )
    config = als_pb2.HttpGrpcAccessLogConfig(
        common_config=als_pb2.CommonGrpcAccessLogConfig(
            log_name=ACCESS_LOG_NAME,
            grpc_service=service,
            transport_api_version="V3",
            buffer_flush_interval=ms(200),
            buffer_size_bytes=uint(_LOG_BUFFER),
        ),
        additional_request_headers_to_log=[Header.SESSION],
        additional_response_headers_to_log=[Header.SERVED_TIER],
    )
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=any_of(config))


def _compressor() -> hcm_pb2.HttpFilter:
    config = compressor_pb2.Compressor(
        compressor_library=extension_pb2.TypedExtensionConfig(
            name="gzip", typed_config=any_of(gzip_pb2.Gzip(memory_level=uint(5), window_bits=uint(12)))
        )
    )
    return hcm_pb2.HttpFilter(name="envoy.filters.http.compressor", typed_config=any_of(config))
