"""Sending events to a running loop: one by one, in streams, or from files played in the order of their times."""

from headrace.client.ingest import EventStream, IngestClient, PublishResult, Rejection
from headrace.client.outcome import RejectedRow
from headrace.client.player import PlayResult, Progress, play
from headrace.client.sender import SendResult, send

__all__ = [
    "EventStream",
    "IngestClient",
    "PlayResult",
    "Progress",
    "PublishResult",
    "RejectedRow",
    "Rejection",
    "SendResult",
    "play",
    "send",
]
