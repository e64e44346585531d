"""Reading logs: entries of superseded owners do not count, nor do entries that were written again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from headrace.wire.position import Position
from headrace.wire.tables import Kind, LogEntries, Vectors, encode_log, encode_vectors
from tests.life.recorder import EntryLog, VectorLog
from tests.oracle.record import Message
from tests.unit.oracle.loops import MODEL


def vectors(place: int, *rows: int, epoch: int) -> Message:
    table = Vectors(
        [f"p{row}" for row in rows],
        np.array(rows, np.int64),
        [Position(1, row, -1).to_bytes() for row in rows],
        np.array([[(1, row - 1, -1)] for row in rows], np.int64),
        np.array([[1.0, 2.0, np.nan] for _ in rows]),
        [],
    )
    return Message((1, place, -1), encode_vectors(MODEL, table), {"epoch": str(epoch)}, place)


def examples(place: int, *seqs: int, **properties: str) -> Message:
    size, numbers = len(seqs), np.array(seqs, np.int64)
    entries = LogEntries(
        numbers,
        np.full(size, Kind.ANSWER, np.int8),
        numbers,
        [f"p{seq}" for seq in seqs],
        numbers,
        numbers + 5,
        np.ones(size),
        np.ones(size),
        np.array([[1.0, 2.0, 3.0] for _ in seqs]),
        [],
    )
    return Message((1, place, -1), encode_log(MODEL, entries), {"epoch": "1", **properties}, place)


def test_a_vector_is_read_with_its_cut() -> None:
    (vector,) = VectorLog(MODEL).update([[vectors(0, 4, epoch=1)]])
    assert (vector.id, vector.time, vector.position, vector.cut) == ("p4", 4, (1, 4, -1), ((1, 3, -1),))
    assert vector.values == {"count": 1.0, "sum": 2.0, "amount": None}


def test_the_features_of_a_former_definition_are_no_values_of_a_vector() -> None:
    message = vectors(0, 4, epoch=1)
    with pa.ipc.open_stream(message.payload) as reader:
        batch = reader.read_next_batch()
    wide = batch.append_column("feature.~sum", batch.column("feature.sum"))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, wide.schema) as writer:
        writer.write_batch(wide)
    (vector,) = VectorLog(MODEL).update([[message._replace(payload=sink.getvalue().to_pybytes())]])
    assert vector.values == {"count": 1.0, "sum": 2.0, "amount": None}


def test_vectors_of_a_superseded_owner_do_not_count() -> None:
    log = [vectors(0, 1, epoch=1), Message((1, 1, -1), b"", {"epoch": "2"}, 1), vectors(2, 2, epoch=1)]
    assert [vector.id for vector in VectorLog(MODEL).update([log])] == ["p1"]


def test_vectors_written_again_count_once() -> None:
    log = VectorLog(MODEL)
    written = [vectors(0, 1, 2, epoch=1)]
    log.update([written])
    assert [vector.id for vector in log.update([[*written, vectors(1, 2, 3, epoch=2)]])] == ["p1", "p2", "p3"]


def test_examples_written_again_count_once() -> None:
    log = [examples(0, 0, 1), examples(1, 1, 2), Message((1, 2, -1), b"", {"epoch": "2"}, 2), examples(3, 3)]
    assert [entry.seq for entry in EntryLog(MODEL).update(log)] == [0, 1, 2]


def test_released_examples_are_known_by_their_message() -> None:
    log = [examples(0, 0), examples(1, 1, released="1")]
    assert [entry.released for entry in EntryLog(MODEL).update(log)] == [False, True]
