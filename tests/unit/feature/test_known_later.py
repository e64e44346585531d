"""Outcomes that are in the row itself, and become known later: the join's log against the oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace import compiler
from headrace.definition import LoopDefinition
from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import Position
from headrace.wire.tables import Kind, LogEntries, Vectors, decode_log, encode_vectors
from tests.headers import header
from tests.oracle.events import judge
from tests.oracle.examples import examples_of
from tests.oracle.record import Message
from tests.support.join_fakes import Log, Pairs, marks, settle, take, watermark, worker

SECOND = 1_000_000

TABLE = """
from datetime import datetime
from river.linear_model import LinearRegression
from headrace import Label, Model, Stream

class Trip(Stream, key="id", time="at", id="id", lateness="1s", time_format="us"):
    id: str
    at: datetime
    done: datetime | None
    x: float | None

Model(
    "m", on=Trip, label=Label(Trip, of=Trip, known_at="done", within="1m", value=Trip.x, name="later"),
    features=[Trip.at.hour], learner=lambda: LinearRegression(),
)
"""


@pytest.mark.parametrize("seed", range(20))
def test_outcomes_known_later_are_those_of_the_oracle(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "table.py"
    file.write_text(TABLE)
    definition = compiler.load(file).definition
    (model,), chance = definition.models, random.Random(seed)
    rows = [
        (f"t{n}", n * SECOND - chance.choice((0, 0, 500_000)), chance.choice((None, -2, 0, 3, 40, 70)))
        for n in range(60)
    ]
    payloads = [
        json.dumps({"id": id, "at": at, "done": None if delay is None else at + delay * SECOND, "x": chance.random()})
        for id, at, delay in rows
    ]
    pairs, log = Pairs(definition), Log()
    join = worker(definition, pairs, log)
    arrivals = [("told", _told(entry, payload)) for entry, payload in enumerate(payloads)]
    questions = [("features", _asked(definition, entry, id, at)) for entry, (id, at, _) in enumerate(rows)]
    while arrivals or questions:
        topic, batch = chance.choice([queue for queue in (arrivals, questions) if queue]).pop(0)
        take(join, topic, batch)
        settle(join)
    take(join, "features", watermark(definition, 99, 200 * SECOND))
    take(join, "told", marks(99, 200 * SECOND))
    settle(join)
    parts = [decode_log(model, payload) for payload in log.payloads]
    found = {key for part in parts for key in _keys(part.answers)}
    messages = [Message((1, entry, -1), payload.encode(), {}, 0) for entry, payload in enumerate(payloads)]
    messages.append(Message((1, 99, -1), b"", {"headrace-mark": str(200 * SECOND)}, 0))
    expected = examples_of(definition, model, judge(definition, {"trip": [messages]})).made
    assert 5 < len(expected) < 60
    assert found == {(id, at, label, known) for id, at, label, known, _ in expected}
    # No answer is learned before it is known: it follows every question that was asked before.
    places = [place for part in parts for place in _places(part)]
    assert places == sorted(places)


def _told(entry: int, payload: str) -> Batch:
    return Batch([Position(1, entry, -1)], [payload.encode()], [{}], [99_000_000])


def _asked(definition: LoopDefinition, entry: int, id: str, at: int) -> Batch:
    model = definition.models[0]
    table = Vectors(
        [id], np.array([at]), [Position(1, entry, 0).to_bytes()], np.empty((1, 0, 3), np.int64), np.zeros((1, 1)), []
    )
    payload = encode_vectors(model, table)
    properties = header(payload, definition=model.hash, release_watermark=at - SECOND, watermark=at - SECOND)
    return Batch([Position(1, entry, -1)], [payload], [properties], [0])


def _keys(answers: LogEntries) -> Iterator[tuple[str, int, float, int]]:
    yield from zip(answers.ids, answers.times.tolist(), answers.labels, answers.label_times.tolist(), strict=True)


def _places(part: LogEntries) -> Iterator[tuple[int, bool]]:
    for kind, at, known in zip(part.kinds.tolist(), part.times.tolist(), part.label_times.tolist(), strict=True):
        asks = kind == Kind.QUESTION
        yield (at if asks else max(at, known)), asks or known <= at
