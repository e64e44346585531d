"""FastAPI, redis-py and onnxruntime under uvicorn: what a team writes first.

python server.py DIRECTORY STORE_URL PORT
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import redis.asyncio
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Event(BaseModel):
    user: str
    card: str
    shop: str
    city: str
    device: str
    amount: float


class Score(BaseModel):
    score: float


class Scores(BaseModel):
    scores: list[float]


def make_app(directory: Path, url: str) -> FastAPI:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    views = json.loads((directory / "models.json").read_text())
    sessions = {model: onnxruntime.InferenceSession(str(directory / f"{model}.onnx"), options) for model in views}
    client = redis.asyncio.Redis.from_url(url)
    app = FastAPI()

    async def scores(model: str, events: list[Event]) -> list[float]:
        pipe = client.pipeline(transaction=False)
        for event in events:
            for view in views[model]:
                pipe.hmget(f"{view['view']}:{getattr(event, view['entity'])}", view["features"])
        replies = iter(await pipe.execute())
        vectors = [[*(float(value) for _ in views[model] for value in next(replies)), event.amount] for event in events]
        (answers,) = sessions[model].run(["score"], {"numbers": np.array(vectors)})
        return [float(score) for score in answers]

    @app.post("/score/{model}")
    async def score(model: str, event: Event) -> Score:
        return Score(score=(await scores(model, [event]))[0])

    @app.post("/batch/{model}")
    async def batch(model: str, events: list[Event]) -> Scores:
        return Scores(scores=await scores(model, events))

    return app


if __name__ == "__main__":
    app = make_app(Path(sys.argv[1]), sys.argv[2])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), access_log=False, log_level="warning")
