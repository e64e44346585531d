"""Settings of the ingest service."""

from __future__ import annotations

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class IngestSettings(ServiceSettings):
    """Settings of the ingest service; environment variables have the prefix ``HEADRACE_``."""

    in_flight_bytes: int = Field(16 * 2**20, gt=0, description="Bytes of a stream on their way to the broker.")
    max_calls: int = Field(512, gt=0, description="Calls under way at once, at most; more are refused at once.")
    max_streams: int = Field(128, gt=0, description="Streams of events open at once, at most.")
    held_bytes: int = Field(64 * 2**20, gt=0, description="Bytes of requests held at once, at most.")
    patience_s: float = Field(30.0, gt=0, description="How long a caller waits for room, or for the broker.")
    decision_s: float = Field(30.0, gt=0, description="How long a caller waits where no event is decided on.")
