"""A message of a topic that headrace writes."""

from __future__ import annotations

from typing import NamedTuple

from headrace.wire.envelope import Envelope
from headrace.wire.position import Position


class Message(NamedTuple):
    """A message with a valid header, and with the payload that the header was written for."""

    position: Position
    payload: bytes
    envelope: Envelope
