"""The status of a learner process, from the statuses of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.engine.quality import MARK, NOT_FINITE, SPOILED
from headrace.runtime.redis.status import ServiceStatus, StoppedModel, TakeoverStatus
from headrace.wire.times import to_status
from headrace.wire.topics import END_OF_HISTORY
from headrace_learner.takeover import Takeover


@dataclass
class ModelStatus:
    """The state of one model, as the process reports it."""

    state: str = "starting"
    examples: int = 0
    published: int = 0
    versions: int = 0
    learned: int = 0
    release_watermark: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""
    failure: str | None = None
    stopped: StoppedModel | None = None
    takeover: Takeover | None = None
    refused: int = 0


def report(status: ServiceStatus, models: Mapping[str, ModelStatus]) -> None:
    """Update the status of a process from the statuses of its models, by name."""
    # Read this first, as the learners update it last.
    status.versions = {name: model.published for name, model in models.items()}
    found = {model.state for model in models.values()}
    status.state = next((state for state in ("failed", "starting", "stopped") if state in found), status.state)
    status.stopped = {name: model.stopped for name, model in models.items() if model.stopped is not None}
    status.counters = {
        "examples": sum(model.learned for model in models.values()),
        "versions": sum(model.versions for model in models.values()),
        "dead_letters": sum(model.refused for model in models.values()),
    }
    # A log's watermark is at the beginning of time until its sources have reported theirs.
    # A standby does not know how far the model is.
    watermarks = [_known(model.release_watermark) for model in models.values() if model.state != "standby"]
    times = [watermark for watermark in watermarks if watermark is not None]
    status.watermark = to_status(min(times, default=None)) if len(times) == len(watermarks) else None
    status.metrics = {name: {**model.metrics} for name, model in models.items() if model.metrics}
    status.takeovers = {
        name: TakeoverStatus(answering=model.takeover.former, learned=model.examples, needed=model.takeover.needed)
        for name, model in models.items()
        if model.takeover is not None
    }
    status.note = "; ".join(note for name, model in models.items() for note in _notes(name, model))


def _notes(name: str, model: ModelStatus) -> list[str]:
    notes = ["stands by"] if model.state == "standby" else []
    if model.metrics.get(NOT_FINITE):
        notes.append(SPOILED)
    elif model.metrics.get(MARK):
        notes.append("is worse than its prior")
    return [f"{name} {note}" for note in (*notes, model.failure or model.note) if note]


def _known(watermark: int | None) -> int | None:
    return None if watermark is None or watermark <= -END_OF_HISTORY else watermark
