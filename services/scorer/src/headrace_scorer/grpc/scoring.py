"""`ScoringService`: single requests, batches, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog

from headrace.engine.model_version import Version
from headrace.errors import HeadraceError
from headrace.runtime.grpc.server import status_of
from headrace.v1 import scoring_pb2 as pb
from headrace.v1 import scoring_pb2_grpc
from headrace_scorer.grpc.values import values_of
from headrace_scorer.scorer import Answer, Request, Scorer

_log = structlog.get_logger()

#: Requests of all streams in progress at once, at most: a single call waits for no more of them. Further ones wait in
#: their callers' transports.
_STREAMED = 8


class ScoringHandler(scoring_pb2_grpc.ScoringServiceServicer):
    """See `protos/headrace/v1/scoring.proto`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._names: dict[str, tuple[Version, pb.Version]] = {}
        self._streamed = asyncio.Semaphore(_STREAMED)

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:  # noqa: N802
        answer = await self._scorer.score(Request(request.model, request.event, request.event_id))
        return self._response(request, answer)

    async def ScoreBatch(self, request: pb.ScoreBatchRequest, context: Any) -> pb.ScoreBatchResponse:  # noqa: N802
        requests = request.requests
        outcomes = await self._scorer.score_many([Request(item.model, item.event, item.event_id) for item in requests])
        return pb.ScoreBatchResponse(
            results=[self._result(item, outcome) for item, outcome in zip(requests, outcomes, strict=True)]
        )

    async def ScoreStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ScoreStreamRequest], context: Any
    ) -> AsyncIterator[pb.ScoreStreamResponse]:
        under_way: asyncio.Queue[asyncio.Task[pb.ScoreResult] | None] = asyncio.Queue(_STREAMED)

        async def take() -> None:
            try:
                async for message in requests:
                    await self._streamed.acquire()
                    task = asyncio.create_task(self._one(message.request))
                    task.add_done_callback(lambda _: self._streamed.release())
                    await under_way.put(task)
            finally:
                await under_way.put(None)

        taker = asyncio.create_task(take())
        try:
            while (task := await under_way.get()) is not None:
                yield pb.ScoreStreamResponse(result=await task)
            await taker
        finally:
            taker.cancel()

    async def _one(self, request: pb.ScoreRequest) -> pb.ScoreResult:
        try:
            return self._result(
                request, await self._scorer.score(Request(request.model, request.event, request.event_id))
            )
        except Exception as error:
            return self._result(request, error)

    def _result(self, request: pb.ScoreRequest, outcome: Answer | Exception) -> pb.ScoreResult:
        if isinstance(outcome, Exception):
            if not isinstance(outcome, HeadraceError):
                _log.error("request_failed", error=repr(outcome), exc_info=outcome)
            status, message = status_of(outcome)
            return pb.ScoreResult(error=pb.ScoreError(code=status.value[0], message=message))
        return pb.ScoreResult(response=self._response(request, outcome))

    def _response(self, request: pb.ScoreRequest, answer: Answer) -> pb.ScoreResponse:
        version = answer.batch.version
        response = pb.ScoreResponse(score=answer.score, version=self._named(version))
        if version.classes and answer.batch.scores.winners is not None:
            response.label = answer.label
            response.probabilities.update(answer.probabilities)
        if request.explain:
            response.vector.extend(values_of(answer.batch.model, answer.batch.assembled, answer.row, answer.age))
        if answer.batch.store_down:
            response.degradations.append(pb.DEGRADATION_STORE_UNAVAILABLE)
        if self._scorer.rebuilding():
            response.degradations.append(pb.DEGRADATION_REBUILDING)
        if not answer.logged and request.event_id:
            response.degradations.append(pb.DEGRADATION_NOT_LOGGED)
        return response

    def _named(self, version: Version) -> pb.Version:
        """Return the version as a message, which is created once."""
        entry = self._names.get(version.model.name)
        if entry is None or entry[0] is not version:
            title = self._scorer.versions.model(version.model.name).title
            message = pb.Version(model=title, definition=version.model.hash, examples=version.examples)
            entry = self._names[version.model.name] = (version, message)
        return entry[1]
