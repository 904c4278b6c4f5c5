"""Messages of the access log service: one bad entry hides no other."""

from __future__ import annotations

import contextlib

import pytest
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from evaluator_builders import entry
from pointsman.evaluator.wire import decode


def message(*request_ids: str) -> bytes:
    made = StreamAccessLogsMessage()
    made.identifier.node.id = "envoy-1"
    made.identifier.log_name = "pointsman"
    made.http_logs.log_entry.extend(entry({"tier": "MARK"}, request_id=name) for name in request_ids)
    return bytes(made.SerializeToString())


def test_a_good_message_is_read_whole() -> None:
    """Identifier and entries, in their order."""
    found = decode(message("a", "b"))
    assert found.identifier is not None
    assert found.identifier.node.id == "envoy-1"
    assert [e.request.request_id for e in found.entries] == ["a", "b"]
    assert found.unreadable == 0


def test_a_string_that_is_no_utf8_costs_its_own_entry_alone() -> None:
    """Protobuf refuses the whole message for it; the others are saved, and the loss is told."""
    raw = message("a", "b", "c").replace(b"MARK", b"MA\xffK", 1)
    with pytest.raises(DecodeError):
        StreamAccessLogsMessage.FromString(raw)
    found = decode(raw)
    assert found.identifier is not None
    assert found.identifier.log_name == "pointsman"
    assert [e.request.request_id for e in found.entries] == ["b", "c"]
    assert found.unreadable == 1


def test_later_messages_name_no_sender() -> None:
    """Only the first message of a stream has an identifier."""
    made = StreamAccessLogsMessage()
    made.http_logs.log_entry.append(entry())
    assert decode(made.SerializeToString()).identifier is None


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_do_worse_than_a_decode_error(noise: bytes, at: int) -> None:
    """Whatever arrives is read, partly read, or refused."""
    whole = message("a", "b")
    for raw in (noise, whole[:at] + noise + whole[at:], whole[:at]):
        with contextlib.suppress(DecodeError):
            decode(raw)
