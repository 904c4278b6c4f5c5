"""Mutual TLS between Envoy and our own processes: contexts of both directions, and renewed files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

_TYPE: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_CERTIFICATE: Final = "certificate"
_AUTHORITY: Final = "authority"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM, and the name that the other side's certificate has."""

    ca_file: str
    cert_file: str
    key_file: str
    server_name: str
    renewal: Renewal | None = None
    """None: the files are read once, at Envoy's start."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """How Envoy learns of renewed files: it watches their folder, as a file of its own tells it to.

    Envoy watches only what SDS names, and SDS by path needs a file: `sds_files` says what is in it.
    """

    watched: str
    """Folder in which something is moved when the files change, as kubelet swaps the link `..data`."""
    folder: str
    """Where the files of `sds_files` lie for Envoy."""


def sds_files(tls: Tls) -> dict[str, dict[str, Any]]:
    """Return file name → content (JSON) of what Envoy's contexts refer to; empty without `renewal`."""
    if tls.renewal is None:
        return {}
    watched = {"watched_directory": {"path": tls.renewal.watched}}
    return {
        _file(_CERTIFICATE): _secret(_CERTIFICATE, "tls_certificate", _pair(tls) | watched),
        _file(_AUTHORITY): _secret(
            _AUTHORITY, "validation_context", {"trusted_ca": {"filename": tls.ca_file}} | watched
        ),
    }


def upstream(tls: Tls) -> dict[str, Any]:
    """Return the transport socket of a cluster."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.UpstreamTlsContext",
            "sni": tls.server_name,
            "common_tls_context": _common(tls),
        },
    }


def downstream(tls: Tls) -> dict[str, Any]:
    """Return the transport socket of a listener that asks for a certificate with `server_name`."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": _common(tls),
        },
    }


def _common(tls: Tls) -> dict[str, Any]:
    kind = "URI" if "://" in tls.server_name else "DNS"
    names = {
        "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": tls.server_name}}],
    }
    # Both: towards upstreams Envoy's own maximum is 1.2.
    version = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    if tls.renewal is None:
        return {
            "tls_params": version,
            "tls_certificates": [_pair(tls)],
            "validation_context": {"trusted_ca": {"filename": tls.ca_file}} | names,
        }
    return {
        "tls_params": version,
        "tls_certificate_sds_secret_configs": [_config(tls.renewal, _CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": names,
            "validation_context_sds_secret_config": _config(tls.renewal, _AUTHORITY),
        },
    }


def _pair(tls: Tls) -> dict[str, Any]:
    return {"certificate_chain": {"filename": tls.cert_file}, "private_key": {"filename": tls.key_file}}


def _config(renewal: Renewal, name: str) -> dict[str, Any]:
    path = f"{renewal.folder.rstrip('/')}/{_file(name)}"
    return {
        "name": name,
        "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"},
    }


def _secret(name: str, field: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_TYPE}.Secret", "name": name, field: value}]}


def _file(name: str) -> str:
    return f"sds-{name}.json"
