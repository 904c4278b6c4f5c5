"""Decodes Envoy's access log messages; an entry that cannot be read costs no other of its message. Pure.

Protobuf refuses a whole message for one string that is not UTF-8. Envoy cleans what clients send, but not the
dynamic metadata that filters set, so a bad value there would hide everyone's requests of the same 200 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDENTIFIER: Final = StreamAccessLogsMessage.IDENTIFIER_FIELD_NUMBER
_HTTP_LOGS: Final = StreamAccessLogsMessage.HTTP_LOGS_FIELD_NUMBER
_LOG_ENTRY: Final = StreamAccessLogsMessage.HTTPAccessLogEntries.LOG_ENTRY_FIELD_NUMBER
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message(NamedTuple):
    """A message: who sent it (None but in a stream's first), its entries, how many could not be read."""

    identifier: StreamAccessLogsMessage.Identifier | None
    entries: list[HTTPAccessLogEntry]
    unreadable: int = 0


def decode(raw: bytes) -> Message:
    """Return a message; DecodeError only if not even its outer parts can be told apart."""
    try:
        whole = StreamAccessLogsMessage.FromString(raw)
    except DecodeError:
        return _salvage(raw)
    return Message(
        whole.identifier if whole.HasField("identifier") else None, list(whole.http_logs.log_entry)
    )


def _salvage(raw: bytes) -> Message:
    identifier, entries, unreadable = None, [], 0
    for number, part in _fields(raw):
        if number == _IDENTIFIER:
            identifier = StreamAccessLogsMessage.Identifier.FromString(part)
        if number != _HTTP_LOGS:
            continue
        for inner, entry in _fields(part):
            if inner != _LOG_ENTRY:
                continue
            try:
                entries.append(HTTPAccessLogEntry.FromString(entry))
            except DecodeError:
                unreadable += 1
    return Message(identifier, entries, unreadable)


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, bytes) of a message's length-delimited fields."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(raw, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, position = _varint(raw, position)
            if position + length > len(raw):
                raise DecodeError("a field ends beyond its message")
            yield tag >> 3, raw[position : position + length]
            position += length
        else:
            raise DecodeError(f"wire type {kind} is not known")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and where it ends."""
    value = shift = 0
    while position < len(raw) and shift < 64:  # noqa: PLR2004 - the most that a varint holds
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the high bit says that there is more
            return value, position
        shift += 7
    raise DecodeError("a number has no end")
