"""Protocols of the store, as a learner uses it."""

from __future__ import annotations

from typing import Protocol

from headrace.runtime.redis.quality import QualityReport


class Owners(Protocol):
    """The owners of works: see `headrace.runtime.redis.fences.Fences`."""

    def acquire(self, work: str) -> int: ...

    def check(self, work: str, epoch: int) -> None: ...


class Reports(Protocol):
    """The reports of quality: see `headrace.runtime.redis.quality.QualityBoard`."""

    def write(self, report: QualityReport) -> None: ...

    def read(self, model: str) -> QualityReport | None: ...
