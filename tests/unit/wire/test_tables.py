"""Tables on topics: they are read as they were written, whatever the features are called."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.errors import Unreadable
from headrace.wire.position import Position
from headrace.wire.tables import (
    Kind,
    LogEntries,
    Predictions,
    Vectors,
    decode_log,
    decode_predictions,
    decode_vectors,
    encode_log,
    encode_predictions,
    encode_vectors,
    last_sequence_of,
    positions_of,
)

NAMES = ["id", "time", "position", "seq", "label", "score", "version", "kind", "entity"]
FEATURES = tuple(FeatureDefinition(name, FieldType.FLOAT, Column(name)) for name in NAMES)
TEXT = FeatureDefinition("weight", FieldType.STRING, Column("weight"))
MODEL = ModelDefinition("m", "s", "l", Task.BINARY, (*FEATURES, TEXT), "learner", entity="patient")

TIMES = np.array([10, 11], np.int64)
NUMBERS = np.arange(18, dtype=np.float64).reshape(2, 9)
POSITION = Position(1, 2, 3).to_bytes()


def test_features_may_be_called_like_the_columns_beside_them() -> None:
    cuts = np.arange(6, dtype=np.int64).reshape(2, 1, 3)
    vectors = Vectors(["a", "b"], TIMES, [POSITION] * 2, cuts, NUMBERS, [["x", None]], ["p", None])
    data = encode_vectors(MODEL, vectors)
    found = decode_vectors(MODEL, data)
    assert (found.ids, found.entities, found.categories) == (["a", "b"], ["p", None], [["x", None]])
    assert (found.numbers == NUMBERS).all()
    assert (found.cuts == cuts).all()
    assert positions_of(data) == [POSITION] * 2

    kinds = np.array([Kind.QUESTION, Kind.ANSWER], np.int8)
    label, weight = np.array([np.nan, 1.0]), np.array([1.0, 20.0])
    entries = LogEntries(TIMES, kinds, TIMES, ["a", "b"], TIMES, TIMES + 5, label, weight, NUMBERS, [["x", None]])
    data = encode_log(MODEL, entries)
    (answer,) = decode_log(MODEL, data).answers.numbers.tolist()
    assert (answer, last_sequence_of(data)) == (NUMBERS[1].tolist(), 11)
    assert decode_log(MODEL, data).answers.weights.tolist() == [20.0]

    predictions = Predictions(["a", "b"], TIMES, [POSITION] * 2, TIMES, weight, None, NUMBERS, [["x", None]])
    again = decode_predictions(MODEL, encode_predictions(MODEL, predictions))
    assert (again.scores.tolist(), again.numbers.tolist()) == ([1.0, 20.0], NUMBERS.tolist())


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_table_is_refused_before_it_is_decoded(codec: str) -> None:
    cuts = np.arange(6, dtype=np.int64).reshape(2, 1, 3)
    data = encode_vectors(MODEL, Vectors(["a", "b"], TIMES, [POSITION] * 2, cuts, NUMBERS, [["x", None]], ["p", None]))
    with pa.ipc.open_stream(data) as reader:
        (batch,) = reader
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    with pytest.raises(Unreadable, match="compressed"):
        decode_vectors(MODEL, bytes(sink.getvalue()))
