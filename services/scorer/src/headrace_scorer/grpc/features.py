"""`FeatureService`: the vector of an event, without a prediction."""

from __future__ import annotations

from typing import Any

from headrace.engine.events.timestamps import MAX_TIME, MIN_TIME
from headrace.errors import InvalidRequest
from headrace.v1 import features_pb2 as pb
from headrace.v1 import features_pb2_grpc
from headrace_scorer.grpc.values import values_of
from headrace_scorer.scorer import Scorer


class FeatureHandler(features_pb2_grpc.FeatureServiceServicer):
    """See `protos/headrace/v1/features.proto`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    async def GetVector(self, request: pb.GetVectorRequest, context: Any) -> pb.GetVectorResponse:  # noqa: N802
        as_of = request.as_of if request.HasField("as_of") else None
        if as_of is not None and not MIN_TIME <= as_of <= MAX_TIME:
            raise InvalidRequest("as_of", str(as_of), "a time (microseconds since the epoch) in the years 1 to 9999")
        reading = await self._scorer.vector(request.model, request.event, as_of)
        model = self._scorer.versions.model(request.model)
        return pb.GetVectorResponse(vector=values_of(model, reading.assembled, 0, reading.age), as_of=reading.as_of)
