"""What a relay writes down about a request, and how it looks on disk.

A journal is a row of frames: ``u32 length | u32 crc32 | msgpack``, little-endian. Disk is claimed before it is needed,
so unwritten space reads as zeros, and a zero length is the end. Every text is bounded by the front door.
"""

from __future__ import annotations

import re
import struct
import zlib

import msgspec

from openmaas.core.usage import Usage
from openmaas.ledger.legs import Leg

FRAME = struct.Struct("<II")
#: What ``Closed`` adds to its ``Opened`` at most: ten integers, an outcome, the units, the frame …
CLOSED_EXTRA_BYTES = 320
#: … and an integer a leg.
CLOSED_LEG_BYTES = 9
#: The outcomes a receipt can have; an outcome no relay lived to write is ``orphaned``.
OUTCOMES = ("done", "client_closed", "engine_failed", "engine_refused", "orphaned")


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o2", gc=False):
    """Written before the engine hears of the request."""

    request_id: str
    opened_ms: int
    key_id: str
    project_id: str
    organisation_id: str
    model: str
    deployment_id: str
    legs: tuple[Leg, ...]
    batch: bool
    job_id: str = ""  # what asked for it; empty for a customer's own request


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="p", gc=False):
    """Tokens delivered so far: what an orphan is billed when its engine left no count."""

    request_id: str
    usage: Usage


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="c2", gc=False):
    """Written before the last byte leaves; says all that a receipt needs."""

    opened: Opened
    closed_ms: int
    first_byte_ms: int
    outcome: str
    usage: Usage
    paid_nanos: tuple[int, ...]  # by leg
    excess_nanos: int  # in the currency of the last leg: the operator bears it
    delivered_tokens: int | None = None  # what the client was sent, as the relay counts; None: nobody lived to tell


Record = Opened | Progress | Closed
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)
#: How every record begins: an array of less than 16 parts (``0x9X``), of which the first is the tag, a short text.
_BODY = re.compile(rb"[\x90-\x9f](?:\xa2o2|\xa1p|\xa2c2)")


def frame(record: Record) -> bytes:
    """``record`` as it stands on disk."""
    body = _encoder.encode(record)
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def next_record(block: bytes, at: int) -> tuple[Record, int] | None:
    """The record at ``at`` and where the next one begins; None at the end or where a frame is torn."""
    if at + FRAME.size > len(block):
        return None
    length, crc = FRAME.unpack_from(block, at)
    begin = at + FRAME.size
    body = block[begin : begin + length]
    if length == 0 or len(body) < length or zlib.crc32(body) != crc:
        return None
    return _decoder.decode(body), begin + length


def has_record(block: bytes) -> bool:
    """True when a whole record stands anywhere in ``block``: what cannot be read before it was not the end."""
    if not block.strip(b"\0"):
        return False  # room that a writer had reserved: a dead relay leaves a megabyte, and they stay for months
    return any(next_record(block, found.start() - FRAME.size) for found in _BODY.finditer(block, FRAME.size))
