"""Fakes of the scorer and of ingest behind real gRPC servers, for tests of the clients."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from headrace.errors import HeadraceError, Overloaded
from headrace.runtime.grpc.call_limits import STATUS_DETAILS, retry_details
from headrace.runtime.grpc.server import status_of
from headrace.v1 import features_pb2, ingest_pb2, models_pb2, scoring_pb2
from headrace.v1.features_pb2_grpc import FeatureServiceServicer, add_FeatureServiceServicer_to_server
from headrace.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from headrace.v1.models_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from headrace.v1.scoring_pb2_grpc import ScoringServiceServicer, add_ScoringServiceServicer_to_server

SUMMARY = models_pb2.ModelSummary(name="worth", task="regression", definition="d1", examples=60)


class Faults:
    """The failures of the next calls, in order; a call without one is answered."""

    def __init__(self) -> None:
        self._next: deque[HeadraceError | grpc.StatusCode] = deque()
        self.calls = 0

    def add(self, *failures: HeadraceError | grpc.StatusCode) -> None:
        self._next.extend(failures)

    def count(self, context: Any) -> None:
        """Count a call; abort it if its turn to fail has come."""
        self.calls += 1
        if self._next:
            fail(context, self._next.popleft())


def fail(context: Any, failure: HeadraceError | grpc.StatusCode) -> None:
    """End a call as a service of headrace ends it, or with a bare status."""
    if isinstance(failure, grpc.StatusCode):
        context.abort(failure, "")
    else:
        status, message = status_of(failure)
        if isinstance(failure, Overloaded):
            context.set_trailing_metadata(((STATUS_DETAILS, retry_details(message, failure.retry_s)),))
        context.abort(status, message)


class FakeScorer(ScoringServiceServicer, ModelServiceServicer, FeatureServiceServicer):
    """A scorer whose score is the event's `amount`; an event without one is refused."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: list[scoring_pb2.ScoreRequest] = []
        #: Single calls wait for it, and it counts those under way.
        self.go = threading.Event()
        self.go.set()
        self.under_way = self.most_under_way = 0
        #: A stream fails after so many answers; None: never.
        self.answers_before_failure: int | None = None
        self._lock = threading.Lock()

    def Score(self, request: scoring_pb2.ScoreRequest, context: Any) -> scoring_pb2.ScoreResponse:  # noqa: N802
        with self._lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        self.go.wait()
        with self._lock:
            self.under_way -= 1
        self.faults.count(context)
        self.requests.append(request)
        result = self._result(request)
        if result.HasField("error"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, result.error.message)
        return result.response

    def ScoreBatch(self, request: scoring_pb2.ScoreBatchRequest, context: Any) -> scoring_pb2.ScoreBatchResponse:  # noqa: N802
        self.faults.count(context)
        self.requests += request.requests
        return scoring_pb2.ScoreBatchResponse(results=map(self._result, request.requests))

    def ScoreStream(  # noqa: N802
        self, request_iterator: Iterable[scoring_pb2.ScoreStreamRequest], context: Any
    ) -> Iterator[scoring_pb2.ScoreStreamResponse]:
        self.faults.count(context)
        for answered, message in enumerate(request_iterator):
            if answered == self.answers_before_failure:
                fail(context, grpc.StatusCode.UNAVAILABLE)
            self.requests.append(message.request)
            yield scoring_pb2.ScoreStreamResponse(result=self._result(message.request))

    def GetVector(self, request: features_pb2.GetVectorRequest, context: Any) -> features_pb2.GetVectorResponse:  # noqa: N802
        response = features_pb2.GetVectorResponse(as_of=request.as_of if request.HasField("as_of") else 7)
        response.vector.add(name="mean", number=2.5, age=1_500_000)
        response.vector.add(name="kind", text="a")
        response.vector.add(name="count")
        return response

    def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:  # noqa: N802
        young = models_pb2.ModelSummary(name="young", task="binary", definition="d2")
        young.takeover.MergeFrom(models_pb2.Takeover(answering="d1", learned=3, needed=9, definition="d2"))
        return models_pb2.ListModelsResponse(models=[SUMMARY, young])

    def DescribeModel(  # noqa: N802
        self, request: models_pb2.DescribeModelRequest, context: Any
    ) -> models_pb2.DescribeModelResponse:
        return models_pb2.DescribeModelResponse(
            summary=SUMMARY,
            learner="LinearRegression()",
            features=[models_pb2.Feature(name="mean", type="float")],
            metrics={"mae": 0.5},
        )

    def _result(self, request: scoring_pb2.ScoreRequest) -> scoring_pb2.ScoreResult:
        event = json.loads(request.event)
        if "amount" not in event:
            error = scoring_pb2.ScoreError(code=3, message="field 'amount' is missing, expected a finite number")
            return scoring_pb2.ScoreResult(error=error)
        version = scoring_pb2.Version(model=request.model, definition="d1", examples=60)
        response = scoring_pb2.ScoreResponse(score=event["amount"], version=version)
        if request.explain:
            response.vector.add(name="amount", number=event["amount"])
            response.vector.add(name="note", text="x" * event.get("note", 0))
        return scoring_pb2.ScoreResult(response=response)


class FakeIngest(IngestServiceServicer):
    """An ingest service that accepts every event except ``b"?"``."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.events: list[bytes] = []
        self.requests: list[ingest_pb2.PublishStreamRequest] = []

    def Publish(self, request: ingest_pb2.PublishRequest, context: Any) -> ingest_pb2.PublishResponse:  # noqa: N802
        self.faults.count(context)
        if request.event == b"?":
            rejection = ingest_pb2.Rejection(stream=request.stream, value="?", expected="a JSON object in UTF-8")
            context.set_trailing_metadata((("headrace-rejection-bin", rejection.SerializeToString()),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the event is ?, expected a JSON object in UTF-8")
        self.events.append(request.event)
        return ingest_pb2.PublishResponse()

    def PublishStream(  # noqa: N802
        self, request_iterator: Iterable[ingest_pb2.PublishStreamRequest], context: Any
    ) -> ingest_pb2.PublishStreamResponse:
        self.faults.count(context)
        events: list[bytes] = []
        for request in request_iterator:
            self.requests.append(request)
            events += request.events
        self.events += events
        rejections = [
            ingest_pb2.Rejection(stream="clicks", index=index, value="?", expected="a JSON object in UTF-8")
            for index, event in enumerate(events)
            if event == b"?"
        ]
        return ingest_pb2.PublishStreamResponse(
            accepted=len(events) - len(rejections), rejected=len(rejections), rejections=rejections
        )


def add_scorer(service: FakeScorer, server: grpc.Server) -> None:
    """Register a scorer with a server."""
    add_ScoringServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    add_ModelServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    add_FeatureServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]


def add_ingest(service: FakeIngest, server: grpc.Server) -> None:
    """Register an ingest service with a server."""
    add_IngestServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]


@contextmanager
def serving(add: Callable[[grpc.Server], None], address: str = "127.0.0.1:0") -> Iterator[str]:
    """Run a server; yield its address."""
    server = grpc.server(
        ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 * 2**20)]
    )
    add(server)
    port = server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
