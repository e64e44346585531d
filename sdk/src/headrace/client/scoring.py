"""The clients of the scorer: scores, vectors, models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from headrace.client import arguments
from headrace.client.attempts import Attempts, CallRules
from headrace.client.channels import AsyncConnection, Connection, StreamEnd
from headrace.client.events import Event
from headrace.client.failures import Peer
from headrace.client.feeds import AsyncFeed, Feed
from headrace.client.scores import (
    MODEL_NAME,
    ModelDescription,
    ModelSummary,
    Prediction,
    ScoredBatch,
    ScoreRequest,
    Vector,
    batches_of,
    check_requests,
    description_of,
    message_of,
    outcome_of,
    prediction_of,
    summary_of,
    vector_of,
    vector_request,
)
from headrace.errors import HeadraceError, Unavailable
from headrace.v1 import features_pb2_grpc, models_pb2, models_pb2_grpc, scoring_pb2, scoring_pb2_grpc

#: Maximum number of unanswered requests of a stream: the scorer works on a few at a time, over all streams.
_WINDOW = 64


class ScoringClient:
    """A client of a scorer. Threads may share it; it keeps one connection.

    A call is retried with growing pauses if the scorer is busy or does not answer. Retries are safe.

    Parameters
    ----------
    address
        ``host:port`` of its gRPC server.
    timeout
        Seconds that a call may take, including its retries.
    retries
        Maximum number of retries of a call.
    concurrency
        Maximum number of concurrent calls; further ones wait. A scorer lets eight calls wait, and refuses more.

    Examples
    --------
        with ScoringClient("127.0.0.1:7070") as client:
            prediction = client.score("late_arrival", {"carrier": "UA", "distance": 1400})
            print(prediction.score, prediction.version.examples)
    """

    def __init__(self, address: str, *, timeout: float = 10.0, retries: int = 4, concurrency: int = 8) -> None:
        self._peer = Peer("scorer", address)
        self._connection = Connection(CallRules(self._peer, timeout, retries, concurrency))
        channel = self._connection.channel
        self._scoring: Any = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]
        self._features: Any = features_pb2_grpc.FeatureServiceStub(channel)  # type: ignore[no-untyped-call]
        self._models: Any = models_pb2_grpc.ModelServiceStub(channel)  # type: ignore[no-untyped-call]

    def score(
        self,
        model: str,
        event: Event,
        *,
        event_id: str = "",
        explain: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Ask a model what it predicts for an event.

        Parameters
        ----------
        event
            The fields that the model's features and entity keys need; a mapping, or a JSON object.
        event_id
            Names the event, so that its label can find the prediction; without an id nothing is logged for learning.
        explain
            Ask for the vector as well.
        timeout
            Seconds for this call; by default those of the client.

        Raises
        ------
        InvalidEvent
            A field that the model needs is missing or wrong.
        InvalidRequest
            The request names something that does not exist, such as the model (`UnknownName`).
        NoModelYet
            The model has no version yet.
        Implausible
            The version has no possible answer for this vector.
        Unavailable
            The scorer or its store does not answer; `Overloaded` if it is busy, `DeadlineExceeded` if time is over.
        """
        request = ScoreRequest(model, event, event_id, explain).message()
        return prediction_of(self._connection.call(self._scoring.Score, request, timeout))

    def score_batch(self, requests: Iterable[ScoreRequest], *, timeout: float | None = None) -> ScoredBatch:
        """Ask many questions at once; a failed one has its error in place of its prediction.

        A large batch is sent in several calls.

        Parameters
        ----------
        timeout
            Seconds for each of these calls; by default those of the client.

        Raises
        ------
        Unavailable
            The scorer does not answer.
        """
        results: list[scoring_pb2.ScoreResult] = []
        for batch in batches_of(requests):
            results += self._connection.call(self._scoring.ScoreBatch, batch, timeout).results
        return ScoredBatch(tuple(outcome_of(result, self._peer) for result in results))

    def score_stream(self, requests: Iterable[ScoreRequest]) -> Iterator[Prediction | HeadraceError]:
        """Ask questions as they come; yield the answer to each, in order, or its error.

        Another thread draws the requests, at most 64 ahead of the answers. If the connection is lost, the stream goes
        on over a new one: the requests without an answer are sent again.

        Raises
        ------
        Unavailable
            The scorer does not answer.
        """
        check_requests(requests)
        feed = Feed((scoring_pb2.ScoreStreamRequest(request=message_of(request)) for request in requests), _WINDOW)
        attempts: Attempts | None = None
        try:
            while True:
                call: Any = None
                try:
                    with self._connection.errors():
                        call = self._scoring.ScoreStream(feed.requests())
                        for response in call:
                            feed.answer()
                            attempts = None
                            yield outcome_of(response.result, self._peer)
                    break
                except Unavailable as error:
                    attempts = attempts or Attempts(self._connection.rules)
                    pause = attempts.pause_after(error)
                finally:
                    if call is not None:
                        call.cancel()
                self._connection.pause(pause)
        finally:
            feed.close()
        if feed.error is not None:
            raise feed.error

    def vector(
        self, model: str, event: Event, *, as_of: int | datetime | None = None, timeout: float | None = None
    ) -> Vector:
        """Read the vector of a model for an event, without a prediction.

        Parameters
        ----------
        as_of
            A datetime (UTC if it has no zone), or microseconds since the epoch; by default now.

        Raises
        ------
        HeadraceError
            As in `score`.
        """
        return vector_of(self._connection.call(self._features.GetVector, vector_request(model, event, as_of), timeout))

    def list_models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Return the models of the loop.

        Raises
        ------
        Unavailable
            The scorer does not answer.
        """
        response = self._connection.call(self._models.ListModels, models_pb2.ListModelsRequest(), timeout)
        return tuple(summary_of(model) for model in response.models)

    def describe_model(self, model: str, *, timeout: float | None = None) -> ModelDescription:
        """Return a model with its learner, features and quality.

        Raises
        ------
        UnknownName
            The loop has no such model.
        Unavailable
            The scorer does not answer.
        """
        request = models_pb2.DescribeModelRequest(model=arguments.text("model", model, MODEL_NAME))
        return description_of(self._connection.call(self._models.DescribeModel, request, timeout))

    def close(self) -> None:
        """End the calls under way, and close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncScoringClient:
    """A client of a scorer for asyncio; parameters and errors are those of `ScoringClient`.

    It belongs to the event loop in which it is first used.

    Examples
    --------
        async with AsyncScoringClient("127.0.0.1:7070") as client:
            prediction = await client.score("late_arrival", {"carrier": "UA", "distance": 1400})
    """

    def __init__(self, address: str, *, timeout: float = 10.0, retries: int = 4, concurrency: int = 8) -> None:
        self._peer = Peer("scorer", address)
        self._connection = AsyncConnection(CallRules(self._peer, timeout, retries, concurrency))

    @cached_property
    def _scoring(self) -> Any:
        return scoring_pb2_grpc.ScoringServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    @cached_property
    def _features(self) -> Any:
        return features_pb2_grpc.FeatureServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    @cached_property
    def _models(self) -> Any:
        return models_pb2_grpc.ModelServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    async def score(
        self,
        model: str,
        event: Event,
        *,
        event_id: str = "",
        explain: bool = False,
        timeout: float | None = None,
    ) -> Prediction:
        """Ask a model what it predicts for an event: see `ScoringClient.score`."""
        request = ScoreRequest(model, event, event_id, explain).message()
        return prediction_of(await self._connection.call(self._scoring.Score, request, timeout))

    async def score_batch(self, requests: Iterable[ScoreRequest], *, timeout: float | None = None) -> ScoredBatch:
        """Ask many questions at once: see `ScoringClient.score_batch`."""
        results: list[scoring_pb2.ScoreResult] = []
        for batch in batches_of(requests):
            results += (await self._connection.call(self._scoring.ScoreBatch, batch, timeout)).results
        return ScoredBatch(tuple(outcome_of(result, self._peer) for result in results))

    async def score_stream(
        self, requests: AsyncIterable[ScoreRequest] | Iterable[ScoreRequest]
    ) -> AsyncIterator[Prediction | HeadraceError]:
        """Ask questions as they come: see `ScoringClient.score_stream`; another task draws the requests."""
        check_requests(requests)
        feed = AsyncFeed(_messages(requests), _WINDOW)
        attempts: Attempts | None = None
        try:
            while True:
                call: Any = None
                try:
                    with self._connection.errors():
                        call = self._scoring.ScoreStream(feed.requests())
                        async with StreamEnd(call).status():
                            async for response in call:
                                await feed.answer()
                                attempts = None
                                yield outcome_of(response.result, self._peer)
                    break
                except Unavailable as error:
                    attempts = attempts or Attempts(self._connection.rules)
                    pause = attempts.pause_after(error)
                finally:
                    if call is not None:
                        call.cancel()
                await asyncio.sleep(pause)
        finally:
            await feed.close()
        if feed.error is not None:
            raise feed.error

    async def vector(
        self, model: str, event: Event, *, as_of: int | datetime | None = None, timeout: float | None = None
    ) -> Vector:
        """Read the vector of a model for an event: see `ScoringClient.vector`."""
        request = vector_request(model, event, as_of)
        return vector_of(await self._connection.call(self._features.GetVector, request, timeout))

    async def list_models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Return the models of the loop: see `ScoringClient.list_models`."""
        response = await self._connection.call(self._models.ListModels, models_pb2.ListModelsRequest(), timeout)
        return tuple(summary_of(model) for model in response.models)

    async def describe_model(self, model: str, *, timeout: float | None = None) -> ModelDescription:
        """Return a model with its learner, features and quality: see `ScoringClient.describe_model`."""
        request = models_pb2.DescribeModelRequest(model=arguments.text("model", model, MODEL_NAME))
        return description_of(await self._connection.call(self._models.DescribeModel, request, timeout))

    async def close(self) -> None:
        """End the calls under way, and close the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


async def _messages(
    requests: AsyncIterable[ScoreRequest] | Iterable[ScoreRequest],
) -> AsyncIterator[scoring_pb2.ScoreStreamRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield scoring_pb2.ScoreStreamRequest(request=message_of(request))
    else:
        for request in requests:
            yield scoring_pb2.ScoreStreamRequest(request=message_of(request))
