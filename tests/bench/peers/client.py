"""The one client: asyncio on uvloop, with grpc.aio or aiohttp, over a connection that is opened for each turn."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import grpc
import numpy as np

from headrace.inference import grpc_service_pb2 as inference_pb2
from headrace.inference import grpc_service_pb2_grpc as inference_grpc
from headrace.v1 import scoring_pb2, scoring_pb2_grpc
from tests.bench.peers.workload import Workload, features_by_view

_WARM_UP = 20
_JSON = {"Content-Type": "application/json"}
# Generated code has no types.
_scoring_stub: Callable[[grpc.aio.Channel], Any] = scoring_pb2_grpc.ScoringServiceStub
_inference_stub: Callable[[grpc.aio.Channel], Any] = inference_grpc.GRPCInferenceServiceStub


class Session(Protocol):
    """An open connection to a server."""

    def request(self, model: str, numbers: Sequence[int]) -> Any:
        """Make the request about these entities; this is not timed."""
        ...

    async def send(self, request: Any) -> Any:
        """Send a request; return the decoded answer."""
        ...

    def values(self, answer: Any, model: str) -> list[float]:
        """Return the scores of an answer; of a peer without a model, the features."""
        ...


@dataclass(frozen=True)
class Server:
    """A target behind a port."""

    name: str
    connect: Callable[[], AbstractAsyncContextManager[Session]]
    entities: int

    async def times(self, model: str, size: int, calls: int) -> list[float]:
        async with self.connect() as session:
            await self._warm_up(session, model, size)
            return [await self._timed(session, model, size) for _ in range(calls)]

    async def rate(self, model: str, in_flight: int, calls: int) -> float:
        async with self.connect() as session:
            requests = iter([session.request(model, [number % self.entities]) for number in range(calls)])
            await asyncio.gather(*(self._warm_up(session, model, 1) for _ in range(in_flight)))
            start = time.perf_counter()
            await asyncio.gather(*(self._drain(session, requests) for _ in range(in_flight)))
            return calls / (time.perf_counter() - start)

    async def values(self, model: str, numbers: Sequence[int]) -> list[float]:
        async with self.connect() as session:
            return session.values(await session.send(session.request(model, numbers)), model)

    async def _warm_up(self, session: Session, model: str, size: int) -> None:
        for _ in range(max(_WARM_UP // size, 2)):
            await self._timed(session, model, size)

    async def _timed(self, session: Session, model: str, size: int) -> float:
        first = random.randrange(self.entities - size)
        request = session.request(model, range(first, first + size))
        start = time.perf_counter()
        await session.send(request)
        return time.perf_counter() - start

    async def _drain(self, session: Session, requests: Iterator[Any]) -> None:
        for request in requests:
            await session.send(request)


class GrpcSession:
    """headrace's own service, which the servers by hand offer too."""

    def __init__(self, channel: grpc.aio.Channel, workload: Workload) -> None:
        self._stub: Any = _scoring_stub(channel)
        self._bodies = [json.dumps(request).encode() for request in workload.requests]

    def request(self, model: str, numbers: Sequence[int]) -> Any:
        requests = [scoring_pb2.ScoreRequest(model=model, event=self._bodies[number]) for number in numbers]
        return requests[0] if len(requests) == 1 else scoring_pb2.ScoreBatchRequest(requests=requests)

    async def send(self, request: Any) -> Any:
        if isinstance(request, scoring_pb2.ScoreRequest):
            return await self._stub.Score(request)
        return await self._stub.ScoreBatch(request)

    def values(self, answer: Any, model: str) -> list[float]:
        if isinstance(answer, scoring_pb2.ScoreResponse):
            return [answer.score]
        return [result.response.score for result in answer.results]


class NoopSession(GrpcSession):
    """The same service without any work: asks for a model that answers at once."""

    def request(self, model: str, numbers: Sequence[int]) -> Any:
        return super().request("noop", numbers)


class InferenceSession:
    """The Open Inference Protocol; the request brings the features."""

    def __init__(self, channel: grpc.aio.Channel, workload: Workload) -> None:
        self._stub: Any = _inference_stub(channel)
        self._workload = workload

    def request(self, model: str, numbers: Sequence[int]) -> Any:
        vectors = np.array([self._workload.vector(model, number) for number in numbers])
        tensor = inference_pb2.ModelInferRequest.InferInputTensor(
            name="numbers",
            datatype="FP64",
            shape=vectors.shape,
            contents=inference_pb2.InferTensorContents(fp64_contents=vectors.ravel()),
        )
        return inference_pb2.ModelInferRequest(model_name=model, inputs=[tensor])

    async def send(self, request: Any) -> Any:
        return await self._stub.ModelInfer(request)

    def values(self, answer: Any, model: str) -> list[float]:
        (output,) = answer.outputs
        return list(output.contents.fp64_contents)


class HttpSession:
    """JSON over HTTP/1.1: the path and body of a request are the peer's."""

    def __init__(self, http: aiohttp.ClientSession, url: str, workload: Workload) -> None:
        self._http = http
        self._url = url
        self.workload = workload

    async def send(self, request: tuple[str, bytes]) -> Any:
        path, body = request
        async with self._http.post(self._url + path, data=body, headers=_JSON) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{self._url}{path} answered {response.status}: {answer.decode()[:300]}")
            return json.loads(answer)


class FastApiSession(HttpSession):
    def request(self, model: str, numbers: Sequence[int]) -> tuple[str, bytes]:
        events = [self.workload.requests[number] for number in numbers]
        if len(events) == 1:
            return f"/score/{model}", json.dumps(events[0]).encode()
        return f"/batch/{model}", json.dumps(events).encode()

    def values(self, answer: Any, model: str) -> list[float]:
        return [answer["score"]] if "score" in answer else list(answer["scores"])


class BentoMlSession(HttpSession):
    def request(self, model: str, numbers: Sequence[int]) -> tuple[str, bytes]:
        events = [self.workload.requests[number] for number in numbers]
        if len(events) == 1:
            return "/score", json.dumps({"model": model, "event": events[0]}).encode()
        return "/batch", json.dumps({"model": model, "events": events}).encode()

    def values(self, answer: Any, model: str) -> list[float]:
        return list(answer) if isinstance(answer, list) else [answer]


class FeastSession(HttpSession):
    def request(self, model: str, numbers: Sequence[int]) -> tuple[str, bytes]:
        loop = self.workload.loop
        features = features_by_view(loop, model)
        fields = {view.by[0] for view in loop.views_of(loop.model(model))}
        body = {
            "features": [f"{view}:{feature}" for view, names in features.items() for feature in names],
            "entities": {field: [self.workload.requests[number][field] for number in numbers] for field in fields},
        }
        return "/get-online-features", json.dumps(body).encode()

    def values(self, answer: Any, model: str) -> list[float]:
        names = answer["metadata"]["feature_names"]
        columns = {name: result["values"] for name, result in zip(names, answer["results"], strict=True)}
        return by_entity(columns, self.workload, model)


def by_entity(columns: dict[str, list[float]], workload: Workload, model: str) -> list[float]:
    """Return the features of one entity after the other, in the model's order."""
    names = [name for names in features_by_view(workload.loop, model).values() for name in names]
    return [value for row in zip(*(columns[name] for name in names), strict=True) for value in row]


def over_grpc(
    name: str, address: str, workload: Workload, session: Callable[[grpc.aio.Channel, Workload], Session]
) -> Server:
    """Make a target that speaks gRPC."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Session]:
        async with grpc.aio.insecure_channel(address) as channel:
            yield session(channel, workload)

    return Server(name, connect, len(workload.requests))


def over_http(
    name: str, url: str, workload: Workload, session: Callable[[aiohttp.ClientSession, str, Workload], Session]
) -> Server:
    """Make a target that speaks HTTP."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Session]:
        async with aiohttp.ClientSession() as http:
            yield session(http, url, workload)

    return Server(name, connect, len(workload.requests))


@dataclass(frozen=True)
class FeastSdk:
    """A library, which is measured in the process that calls it; this one sends it commands."""

    name: str
    ask: Callable[[str], str]
    workload: Workload

    async def times(self, model: str, size: int, calls: int) -> list[float]:
        await self._answer(do="times", model=model, size=size, calls=max(_WARM_UP // size, 2))
        times: list[float] = await self._answer(do="times", model=model, size=size, calls=calls)
        return times

    async def rate(self, model: str, in_flight: int, calls: int) -> float:
        return float(await self._answer(do="rate", model=model, in_flight=in_flight, calls=calls))

    async def values(self, model: str, numbers: Sequence[int]) -> list[float]:
        columns = await self._answer(do="values", model=model, numbers=list(numbers))
        return by_entity(columns, self.workload, model)

    async def _answer(self, **command: Any) -> Any:
        return json.loads(await asyncio.to_thread(self.ask, json.dumps(command)))
