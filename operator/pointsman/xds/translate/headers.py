"""Which headers stop where: what a client may not say to us, and what a tier may not hear.

A client's headers go before routing, by prefix. What we or Envoy have set since is taken off when a route is
applied, by name: a route is not found once `x-forwarded-proto` is gone, so no filter may take that one off.
"""

from __future__ import annotations

from typing import Final

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import string_pb2

from pointsman.contract import Header
from pointsman.xds.translate.resources import any_of

_FORBIDDEN_PREFIXES: Final = ("x-pointsman-", "x-envoy-", "x-forwarded-")
_ASIDE: Final = "pointsman-no-capture"
"""Where the one header of ours that a client may set waits while the others are dropped."""

NOT_FOR_TIERS: Final = (
    # what the client may use as a credential with whoever stands before us
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "cookie",
    # captures and usage must be readable
    "accept-encoding",
    # ours
    Header.KEY,
    Header.MODEL_AT,
    Header.NO_CAPTURE,
    # Envoy's own, set since
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-envoy-external-address",
    "x-envoy-internal",
)
"""Request headers that are dropped towards every tier."""


def drop_forbidden() -> extension_pb2.TypedExtensionConfig:
    """Return the extension that drops a client's copies of our headers and Envoy's before they are read."""
    mutations = [
        _copy(Header.NO_CAPTURE, _ASIDE),
        *(_drop(prefix) for prefix in _FORBIDDEN_PREFIXES),
        _copy(_ASIDE, Header.NO_CAPTURE),
        mutation_rules_pb2.HeaderMutation(remove=_ASIDE),
    ]
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=any_of(header_mutation_pb2.HeaderMutation(mutations=mutations)),
    )


def _copy(source: str, target: str) -> mutation_rules_pb2.HeaderMutation:
    """Return a mutation that sets `target` to the value of `source`, or not at all if there is none."""
    return mutation_rules_pb2.HeaderMutation(
        append=base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=target, value=f"%REQ({source})%"),
            append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )


def _drop(prefix: str) -> mutation_rules_pb2.HeaderMutation:
    matcher = string_pb2.StringMatcher(prefix=prefix)
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=matcher)
    )
