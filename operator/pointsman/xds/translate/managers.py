"""What the entry's and the tiers' HTTP connection managers share: scripts, local replies, small filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from pointsman.xds.translate.resources import any_of, struct
from pointsman.xds.translate.scripts import script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from google.protobuf import any_pb2

_PAYLOAD_TOO_LARGE: Final = 413
_SERVER_ERROR: Final = 500


def lua_filter(name: str, source: str) -> hcm_pb2.HttpFilter:
    """Return a filter that runs one of our scripts; it clears the route cache itself, where it must."""
    config = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=script(source)))
    config.clear_route_cache.value = False
    return hcm_pb2.HttpFilter(name=name, typed_config=any_of(config))


def lua_context(values: Mapping[str, Any]) -> any_pb2.Any:
    """Return the per-route configuration that gives a script its `filterContext()`."""
    return any_of(lua_pb2.LuaPerRoute(filter_context=struct(values)))


def router_filter() -> hcm_pb2.HttpFilter:
    """Return the last filter; it adds no x-envoy-* of its own."""
    return hcm_pb2.HttpFilter(
        name="envoy.filters.http.router", typed_config=any_of(router_pb2.Router(suppress_envoy_headers=True))
    )


def local_replies() -> hcm_pb2.LocalReplyConfig:
    """Return OpenAI-shaped bodies for what Envoy itself has to refuse."""
    filters = accesslog_pb2.ComparisonFilter
    return hcm_pb2.LocalReplyConfig(
        mappers=[
            _reply(
                filters.EQ,
                _PAYLOAD_TOO_LARGE,
                "The request body is larger than this gateway accepts.",
                "invalid_request_error",
                "request_too_large",
            ),
            _reply(
                filters.GE,
                _SERVER_ERROR,
                "The model did not answer: %RESPONSE_CODE_DETAILS%.",
                "server_error",
                "upstream_unavailable",
            ),
        ]
    )


def _reply(
    op: accesslog_pb2.ComparisonFilter.Op, status: int, message: str, kind: str, code: str
) -> hcm_pb2.ResponseMapper:
    body = json.dumps(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}, separators=(",", ":")
    )
    return hcm_pb2.ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(
            status_code_filter=accesslog_pb2.StatusCodeFilter(
                comparison=accesslog_pb2.ComparisonFilter(
                    op=op,
                    value=base_pb2.RuntimeUInt32(
                        default_value=status, runtime_key=f"pointsman.local_reply.{status}"
                    ),
                )
            )
        ),
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=body), content_type="application/json"
        ),
    )
