"""Clients of a running loop: asking for scores, and sending events.

`ScoringClient` and `IngestClient` call the services over gRPC, `AsyncScoringClient` and `AsyncIngestClient` do it for
asyncio; these four need nothing but the distribution `headrace` itself. `send` and `play` send files of events; they
read the definition of the loop and its store, and need the extra `headrace[loop]`.
"""

from typing import TYPE_CHECKING

from headrace.client.ingest import AsyncEventStream, AsyncIngestClient, EventStream, IngestClient
from headrace.client.publishing import PublishResult, Rejection
from headrace.client.scores import (
    Degradation,
    Feature,
    FeatureValue,
    ModelDescription,
    ModelSummary,
    Prediction,
    ScoredBatch,
    ScoreRequest,
    Takeover,
    Vector,
    VersionId,
)
from headrace.client.scoring import AsyncScoringClient, ScoringClient
from headrace.extras import load_name

if TYPE_CHECKING:
    from headrace.client.outcome import RejectedRow
    from headrace.client.player import PlayResult, Progress, play
    from headrace.client.sender import SendResult, send

__all__ = [
    "AsyncEventStream",
    "AsyncIngestClient",
    "AsyncScoringClient",
    "Degradation",
    "EventStream",
    "Feature",
    "FeatureValue",
    "IngestClient",
    "ModelDescription",
    "ModelSummary",
    "PlayResult",
    "Prediction",
    "Progress",
    "PublishResult",
    "RejectedRow",
    "Rejection",
    "ScoreRequest",
    "ScoredBatch",
    "ScoringClient",
    "SendResult",
    "Takeover",
    "Vector",
    "VersionId",
    "play",
    "send",
]

#: Names that need the extra, by their module.
_LOADED = {
    "PlayResult": "player",
    "Progress": "player",
    "RejectedRow": "outcome",
    "SendResult": "sender",
    "play": "player",
    "send": "sender",
}


def __getattr__(name: str) -> object:
    return load_name(__name__, _LOADED, name, "loop")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
