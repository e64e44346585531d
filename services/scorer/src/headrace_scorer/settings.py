"""Settings of the scorer, in addition to those of every service."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headrace.runtime.settings import ServiceSettings


class StoreDown(StrEnum):
    """The behaviour of a request while the online store does not answer."""

    FAIL = "fail"
    MISSING = "missing"


class ScorerSettings(ServiceSettings):
    """Settings of the scorer, each variable with the prefix ``HEADRACE_``."""

    store_down: StoreDown = Field(
        StoreDown.FAIL,
        description="While the store is down: `fail` the request, or score it with its views' features `missing`.",
    )
    store_timeout: float = Field(0.5, gt=0, description="Seconds that a request waits for the store.")
    log_queue: int = Field(10_000, gt=0, description="Served predictions waiting for the broker, at most.")
    log_patience: float = Field(
        2.0, gt=0, description="Seconds without the broker's word after which predictions are no longer logged."
    )
    max_in_flight: int = Field(
        4_096, gt=0, description="Requests under way at once, at most, those of batches among them; more are refused."
    )
    max_calls: int = Field(
        32, ge=8, description="Calls under way at once, at most: they share one core, so more only wait longer."
    )
    max_waiting: int = Field(8, gt=0, description="Calls that wait until they are handled; gRPC refuses those beyond.")
