"""A BentoML service with redis-py and onnxruntime, one worker.

python server.py DIRECTORY STORE_URL PORT
"""

import json
import os
import sys
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime
import redis.asyncio
from pydantic import BaseModel


class Event(BaseModel):
    user: str
    card: str
    shop: str
    city: str
    device: str
    amount: float


@bentoml.service(workers=1)
class Scorer:
    def __init__(self) -> None:
        directory = Path(os.environ["PEER_DIRECTORY"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._views = json.loads((directory / "models.json").read_text())
        self._sessions = {
            model: onnxruntime.InferenceSession(str(directory / f"{model}.onnx"), options) for model in self._views
        }
        self._client = redis.asyncio.Redis.from_url(os.environ["PEER_STORE_URL"])

    async def _scores(self, model: str, events: list[Event]) -> list[float]:
        pipe = self._client.pipeline(transaction=False)
        for event in events:
            for view in self._views[model]:
                pipe.hmget(f"{view['view']}:{getattr(event, view['entity'])}", view["features"])
        replies = iter(await pipe.execute())
        vectors = [
            [*(float(value) for _ in self._views[model] for value in next(replies)), event.amount] for event in events
        ]
        (answers,) = self._sessions[model].run(["score"], {"numbers": np.array(vectors)})
        return [float(score) for score in answers]

    @bentoml.api(route="/score")
    async def score(self, model: str, event: Event) -> float:
        return (await self._scores(model, [event]))[0]

    @bentoml.api(route="/batch")
    async def batch(self, model: str, events: list[Event]) -> list[float]:
        return await self._scores(model, events)


if __name__ == "__main__":
    directory, url, port = sys.argv[1:]
    os.environ |= {"PEER_DIRECTORY": directory, "PEER_STORE_URL": url}
    os.environ |= {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": f"{directory}/bentoml"}
    serve = ["-m", "bentoml", "serve", "server:Scorer", "--host", "127.0.0.1", "--port", port]
    os.execv(sys.executable, [sys.executable, *serve, "--working-dir", str(Path(__file__).parent)])
