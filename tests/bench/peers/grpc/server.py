"""A gRPC server by hand: grpc.aio, the rows by redis-py or by one raw pipe, onnxruntime.

    python server.py DIRECTORY STORE_URL PORT redis-py|raw

With the raw pipe it is the floor that headrace is measured against: nothing that it does can be left out. The model
``noop`` answers at once.
"""

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import hiredis
import numpy as np
import onnxruntime
import redis.asyncio
import uvloop

from headrace.v1 import scoring_pb2, scoring_pb2_grpc

MODELS = ("one", "five", "twenty")


class RedisPy:
    """Reads hashes by redis-py's asyncio pipeline."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)

    async def read(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return await pipe.execute()


class RawPipe(asyncio.Protocol):
    """Reads hashes over one connection; replies come in the order of the commands."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._waiting and (reply := self._reader.gets()) is not False:
            count, replies, future = self._waiting[0]
            replies.append(reply)
            if len(replies) == count:
                self._waiting.popleft()
                future.set_result(replies)

    def read(self, commands: list[tuple[Any, ...]]) -> asyncio.Future[list[Any]]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((len(commands), [], future))
        self._transport.write(b"".join(map(hiredis.pack_command, commands)))
        return future


class Scoring(scoring_pb2_grpc.ScoringServiceServicer):
    def __init__(self, directory: Path, store: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = {
            model: onnxruntime.InferenceSession(str(directory / f"{model}.onnx"), options) for model in MODELS
        }
        self._views = json.loads((directory / "models.json").read_text())
        self._store = store

    async def _scores(self, model: str, events: list[Any]) -> Any:
        commands = [
            ("HMGET", f"{view['view']}:{event[view['entity']]}", *view["features"])
            for event in events
            for view in self._views[model]
        ]
        replies = iter(await self._store.read(commands))
        numbers = np.empty((len(events), 21))
        for row, event in zip(numbers, events, strict=True):
            values = [float(value) for _ in self._views[model] for value in next(replies)]
            row[:] = (*values, event["amount"])
        return self._sessions[model].run(["score"], {"numbers": numbers})[0]

    async def Score(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model == "noop":
            return scoring_pb2.ScoreResponse()
        (score,) = await self._scores(request.model, [json.loads(request.event)])
        return scoring_pb2.ScoreResponse(score=score)

    async def ScoreBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        requests = request.requests
        if requests[0].model == "noop":
            scores = np.zeros(len(requests))
        else:
            scores = await self._scores(requests[0].model, [json.loads(one.event) for one in requests])
        results = [
            scoring_pb2.ScoreResult(response=scoring_pb2.ScoreResponse(score=score)) for score in scores.tolist()
        ]
        return scoring_pb2.ScoreBatchResponse(results=results)


async def redis_py(url: str) -> RedisPy:
    return RedisPy(url)


async def raw_pipe(url: str) -> RawPipe:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, pipe = await loop.create_connection(RawPipe, address.hostname or "127.0.0.1", address.port or 6379)
    return pipe


STORES: dict[str, Any] = {"redis-py": redis_py, "raw": raw_pipe}


async def serve(directory: str, url: str, port: str, store: str) -> None:
    server = grpc.aio.server()
    add_servicer: Any = scoring_pb2_grpc.add_ScoringServiceServicer_to_server
    add_servicer(Scoring(Path(directory), await STORES[store](url)), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
