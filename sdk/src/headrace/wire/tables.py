"""Payloads of the topics that only headrace reads: columnar batches as Arrow IPC.

A vector is split into `numbers` (float64, NaN where missing) and `categories` (strings, None where
missing), each in the order of the model's features.

Columns are addressed by name. A feature's column is named `feature.` plus the feature's name, because a feature may
have the name of another column. The schema's metadata give the table and its format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import flatbuffers.encode
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from flatbuffers.number_types import UOffsetTFlags
from flatbuffers.table import Table as Flat

from headrace.definition import FieldType, ModelDefinition, Task
from headrace.errors import Unreadable
from headrace.wire.envelope import Envelope
from headrace.wire.formats import FORMAT, VERSION, check_format, version_text, without_format
from headrace.wire.limits import split

Numbers = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Categories = list[list[str | None]]

#: Maximum number of rows in a message; fewer if they are large: see `headrace.wire.limits`.
MAX_ROWS = 2_048

#: Size of a position in bytes.
_POSITION = 20

#: Offsets of the fields in Arrow's tables `Message` and `RecordBatch` (Message.fbs).
_HEADER, _COMPRESSION = 8, 10

_PREFIX = "feature."

#: Features of a former definition, after those of the model: see `headrace.engine.former.widened`.
_FORMER_PREFIX = f"{_PREFIX}~"

_STRING, _BINARY = pa.string(), pa.binary(_POSITION)

#: The columns of each table before its features; those in `_NULLABLE` may have missing values.
_COLUMNS: dict[str, dict[str, tuple[pa.DataType, ...]]] = {
    "vectors": {
        "id": (_STRING,),
        "time": (pa.int64(),),
        "position": (_BINARY,),
        "cut": (),
        "entity": (_STRING,),
    },
    "log": {
        "seq": (pa.int64(),),
        "kind": (pa.int8(),),
        "question": (pa.int64(),),
        "id": (_STRING,),
        "time": (pa.int64(),),
        "label_time": (pa.int64(),),
        "label": (_STRING, pa.float64()),
        "weight": (pa.float64(),),
        "made": (pa.bool_(),),
    },
    "predictions": {
        "id": (_STRING,),
        "time": (pa.int64(),),
        "position": (_BINARY,),
        "version": (pa.int64(),),
        "score": (pa.float64(),),
        "label": (_STRING,),
    },
}
_NULLABLE = {"vectors": {"entity", "cut"}, "log": set[str](), "predictions": {"label"}}

# Keys of the schema's metadata.
_TABLE, _FORMAT, _VERSION = b"headrace.table", b"headrace.format", b"headrace.version"


@dataclass(frozen=True)
class Vectors:
    """N vectors of one model.

    Attributes
    ----------
    ids, times
        Event id and event time (µs) of each vector.
    positions
        The 20 bytes of the position of each vector's event.
    cuts
        int64[N, C, 3]: the position (ledger, entry, batch) of each row read, in the order of
        `headrace.engine.kernel.assembly.Assembled.cuts`; -1 if there was no row.
    numbers
        float64[N, n]: the numeric features.
    categories
        The column of N values of each string feature.
    entities
        The entity of each vector, for a forecast.
    """

    ids: list[str]
    times: Times
    positions: list[bytes]
    cuts: npt.NDArray[np.int64]
    numbers: Numbers
    categories: Categories
    entities: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return the vectors at these rows."""
        return Vectors(
            [self.ids[row] for row in rows],
            self.times[rows],
            [self.positions[row] for row in rows],
            self.cuts[rows],
            self.numbers[rows],
            [[column[row] for row in rows] for column in self.categories],
            None if self.entities is None else [self.entities[row] for row in rows],
        )

    def slices(self, size: int = MAX_ROWS) -> Iterator[Vectors]:
        """Yield the same vectors in runs of at most `size`."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


class Kind(IntEnum):
    """Kinds of entries in a model's log."""

    QUESTION = 0
    ANSWER = 1
    #: The bound of a question is over without an answer that counts.
    UNANSWERED = 2


@dataclass(frozen=True)
class LogEntries:
    """N entries of a model's log of questions and answers, in order.

    Attributes
    ----------
    seqs
        The place of each entry in the log.
    kinds
        int8[N]: see `Kind`.
    questions
        The place of each entry's question; for a question, its own place.
    ids, times
        Event id and event time (µs) of the question.
    label_times
        Time when each answer became known (µs); for other entries, the time of the question.
    labels
        float64[N] (binary: 0.0 or 1.0), or the classes as text. NaN, or empty, if the entry is not an answer.
    weights
        float64[N]: the weight of each answer, as a number of examples.
    numbers, categories
        The vector, as in `Vectors`; an answer repeats the vector of its question, an unanswered entry has none.
    made
        bool[N]: whether each entry was made from kept events after a change of the definition, so that its question was
        never asked; None: no entry was.
    """

    seqs: Times
    kinds: npt.NDArray[np.int8]
    questions: Times
    ids: list[str]
    times: Times
    label_times: Times
    labels: Numbers | list[str]
    weights: Numbers
    numbers: Numbers
    categories: Categories
    made: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answers(self) -> LogEntries:
        """The answers: each one is an example, with the vector of its question."""
        return self.take(np.flatnonzero(self.kinds == Kind.ANSWER).tolist())

    def take(self, rows: Sequence[int]) -> LogEntries:
        """Return the entries at these rows."""
        at = list(rows)
        return LogEntries(
            self.seqs[at],
            self.kinds[at],
            self.questions[at],
            [self.ids[row] for row in at],
            self.times[at],
            self.label_times[at],
            [self.labels[row] for row in at] if isinstance(self.labels, list) else self.labels[at],
            self.weights[at],
            self.numbers[at],
            [[column[row] for row in at] for column in self.categories],
            None if self.made is None else self.made[at],
        )


@dataclass(frozen=True)
class Predictions:
    """N predictions served. `labels` are the predicted classes (multiclass), else None."""

    ids: list[str]
    times: Times
    positions: list[bytes]
    versions: Times
    scores: Numbers
    labels: list[str] | None
    numbers: Numbers
    categories: Categories

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Predictions:
        """Return the predictions at these rows."""
        at = list(rows)
        return Predictions(
            [self.ids[row] for row in at],
            self.times[at],
            [self.positions[row] for row in at],
            self.versions[at],
            self.scores[at],
            None if self.labels is None else [self.labels[row] for row in at],
            self.numbers[at],
            [[column[row] for row in at] for column in self.categories],
        )


def vector_messages(model: ModelDefinition, vectors: Vectors) -> Iterator[bytes]:
    """Yield messages for the features topic.

    Raises
    ------
    TooLarge
        A single vector is larger than a message.
    """
    for part in vectors.slices():
        yield from split(
            part, lambda rows: encode_vectors(model, rows), Vectors.take, f"a vector of model {model.name!r}"
        )


def log_messages(model: ModelDefinition, entries: LogEntries) -> Iterator[bytes]:
    """Return messages for a model's log.

    Raises
    ------
    TooLarge
        A single entry is larger than a message.
    """
    return split(
        entries, lambda rows: encode_log(model, rows), LogEntries.take, f"an entry of the log of model {model.name!r}"
    )


def prediction_messages(model: ModelDefinition, predictions: Predictions) -> Iterator[bytes]:
    """Return messages for the predictions topic.

    Raises
    ------
    TooLarge
        A single prediction is larger than a message.
    """
    return split(
        predictions,
        lambda rows: encode_predictions(model, rows),
        Predictions.take,
        f"a prediction of model {model.name!r}",
    )


def encode_vectors(model: ModelDefinition, vectors: Vectors) -> bytes:
    """Encode one message for the features topic, of any size."""
    width = vectors.cuts.shape[1] * 3
    cuts = pa.FixedSizeListArray.from_arrays(pa.array(vectors.cuts.reshape(-1)), max(width, 1)) if width else None
    columns: dict[str, pa.Array] = {
        "id": pa.array(vectors.ids, pa.string()),
        "time": pa.array(vectors.times, pa.int64()),
        "position": pa.array(vectors.positions, pa.binary(20)),
        "cut": cuts if cuts is not None else pa.nulls(len(vectors)),
        "entity": pa.nulls(len(vectors), pa.string())
        if vectors.entities is None
        else pa.array(vectors.entities, pa.string()),
    }
    return _encode("vectors", columns, _vector_columns(model, vectors.numbers, vectors.categories))


def decode_vectors(model: ModelDefinition, data: bytes) -> Vectors:
    """Decode a message that `encode_vectors` wrote.

    Raises
    ------
    Unreadable
        The bytes are not vectors of the model.
    """
    batch = _decode("vectors", data)
    numbers, categories = _vector_of(model, batch, "vectors")
    entities = batch.column("entity").to_pylist() if model.entity else None
    return Vectors(
        batch.column("id").to_pylist(),
        _numbers(batch.column("time")),
        batch.column("position").to_pylist(),
        _cuts(batch),
        numbers,
        categories,
        entities,
    )


def positions_of(data: bytes) -> list[bytes]:
    """Return the positions in a message of a features topic, whatever the definition of its vectors.

    Raises
    ------
    Unreadable
        The bytes are not vectors.
    """
    return list(_decode("vectors", data).column("position").to_pylist())


def last_sequence_of(data: bytes) -> int:
    """Return the place of the last entry in a message of a log, whatever its definition.

    Raises
    ------
    Unreadable
        The bytes are not entries of a log.
    """
    return int(_decode("log", data).column("seq")[-1].as_py())


def encode_log(model: ModelDefinition, entries: LogEntries) -> bytes:
    """Encode one message for a model's log, of any size."""
    text = isinstance(entries.labels, list)
    columns = {
        "seq": pa.array(entries.seqs, pa.int64()),
        "kind": pa.array(entries.kinds, pa.int8()),
        "question": pa.array(entries.questions, pa.int64()),
        "id": pa.array(entries.ids, pa.string()),
        "time": pa.array(entries.times, pa.int64()),
        "label_time": pa.array(entries.label_times, pa.int64()),
        "label": pa.array(entries.labels, pa.string() if text else pa.float64()),
        "weight": pa.array(entries.weights, pa.float64()),
        "made": pa.array(np.zeros(len(entries), bool) if entries.made is None else entries.made, pa.bool_()),
    }
    return _encode("log", columns, _vector_columns(model, entries.numbers, entries.categories))


def decode_log(model: ModelDefinition, data: bytes) -> LogEntries:
    """Decode a message that `encode_log` wrote.

    Raises
    ------
    Unreadable
        The bytes are not entries of the model's log.
    """
    batch = _decode("log", data)
    label = batch.column("label")
    if pa.types.is_string(label.type) != (model.task is Task.MULTICLASS):
        raise Unreadable("log", f"its labels are {label.type}, and model {model.name!r} is {model.task}")
    kinds = _numbers(batch.column("kind"))
    known = _IS_KIND[kinds.view(np.uint8)]
    if not known.all():
        raise Unreadable("log", f"an entry has kind {kinds[~known][0]}, not one of {_KINDS}")
    seqs = _numbers(batch.column("seq"))
    if (np.diff(seqs) != 1).any():
        raise Unreadable("log", "the places of its entries do not follow one another")
    numbers, categories = _vector_of(model, batch, "log")
    return LogEntries(
        seqs,
        kinds,
        _numbers(batch.column("question")),
        batch.column("id").to_pylist(),
        _numbers(batch.column("time")),
        _numbers(batch.column("label_time")),
        label.to_pylist() if pa.types.is_string(label.type) else _numbers(label),
        _numbers(batch.column("weight")),
        numbers,
        categories,
        _numbers(batch.column("made").cast(pa.uint8())).view(np.bool_),
    )


def encode_predictions(model: ModelDefinition, predictions: Predictions) -> bytes:
    """Encode one message for the predictions topic, of any size."""
    columns = {
        "id": pa.array(predictions.ids, pa.string()),
        "time": pa.array(predictions.times, pa.int64()),
        "position": pa.array(predictions.positions, pa.binary(20)),
        "version": pa.array(predictions.versions, pa.int64()),
        "score": pa.array(predictions.scores, pa.float64()),
        "label": pa.nulls(len(predictions), pa.string())
        if predictions.labels is None
        else pa.array(predictions.labels, pa.string()),
    }
    return _encode("predictions", columns, _vector_columns(model, predictions.numbers, predictions.categories))


def decode_predictions(model: ModelDefinition, data: bytes) -> Predictions:
    """Decode a message that `encode_predictions` wrote.

    Raises
    ------
    Unreadable
        The bytes are not predictions of the model.
    """
    batch = _decode("predictions", data)
    label = batch.column("label")
    numbers, categories = _vector_of(model, batch, "predictions")
    return Predictions(
        batch.column("id").to_pylist(),
        _numbers(batch.column("time")),
        batch.column("position").to_pylist(),
        _numbers(batch.column("version")),
        _numbers(batch.column("score")),
        None if label.null_count == len(label) else label.to_pylist(),
        numbers,
        categories,
    )


def made_for(model: ModelDefinition, envelope: Envelope) -> bool:
    """Return whether a message can be used for a model's examples: another learner makes no difference."""
    return envelope.definition == model.hash or envelope.examples == model.examples_hash


def predicted_questions(data: bytes) -> tuple[list[str], list[int]]:
    """Return the ids and times in a message of the predictions topic, whatever definition answered.

    Raises
    ------
    Unreadable
        The bytes are not predictions.
    """
    batch = _decode("predictions", data)
    return batch.column("id").to_pylist(), batch.column("time").to_pylist()


_KINDS = tuple(map(int, Kind))

# By the byte of a kind, whether there is such a kind.
_IS_KIND = np.isin(np.arange(256), _KINDS)


def _vector_columns(model: ModelDefinition, numbers: Numbers, categories: Categories) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    number = category = 0
    for feature in model.features:
        if feature.type is FieldType.STRING:
            columns[_PREFIX + feature.name] = pa.array(categories[category], pa.string())
            category += 1
        else:
            columns[_PREFIX + feature.name] = pa.array(numbers[:, number], pa.float64())
            number += 1
    return columns


def _vector_of(model: ModelDefinition, batch: pa.RecordBatch, table: str) -> tuple[Numbers, Categories]:
    texts = {_PREFIX + feature.name: feature.type is FieldType.STRING for feature in model.features}
    columns = {*_COLUMNS[table], *texts}
    for name in batch.schema.names:
        if name not in columns and not name.startswith(_FORMER_PREFIX):
            raise Unreadable(table, f"it has the column {name[:80]!r}, which model {model.name!r} does not")
    numbers = np.empty((batch.num_rows, len(texts) - sum(texts.values())))
    categories: Categories = []
    number = 0
    for name, text in texts.items():
        column = _column(batch, table, name, (_STRING,) if text else (pa.float64(),), nullable=text)
        if text:
            categories.append(column.to_pylist())
        else:
            numbers[:, number] = _numbers(column)
            number += 1
    return numbers, categories


def _cuts(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    cut, size = batch.column("cut"), batch.num_rows
    if pa.types.is_null(cut.type):
        return np.empty((size, 0, 3), np.int64)
    kind = cut.type
    valid = pa.types.is_fixed_size_list(kind) and kind.value_type == pa.int64() and kind.list_size % 3 == 0
    if not valid or cut.null_count:
        raise Unreadable("vectors", f"column 'cut' is {kind}, not positions of three numbers")
    flat = cut.flatten()
    if flat.null_count or len(flat) != size * kind.list_size:
        raise Unreadable("vectors", "column 'cut' has missing numbers")
    return _numbers(flat).reshape(size, kind.list_size // 3, 3)


def _encode(table: str, columns: dict[str, pa.Array], vector: dict[str, pa.Array]) -> bytes:
    arrays = columns | vector
    metadata = {_TABLE: table, _FORMAT: str(FORMAT), _VERSION: version_text(VERSION)}
    batch = pa.RecordBatch.from_arrays([*arrays.values()], [*arrays], metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of a column without copying them; Arrow's own conversion would import pandas."""
    return np.from_dlpack(column)


def _decode(table: str, data: bytes) -> pa.RecordBatch:
    """Decode the only batch of a message, with the columns of its table, and check it to the last value."""
    try:
        _, rows = pa.ipc.MessageReader.open_stream(data)
        if _is_compressed(rows):
            raise Unreadable(table, "it is compressed, so its size is not bounded by that of its message")
        with pa.ipc.open_stream(data) as reader:
            _check_table(table, reader.schema)
            (batch,) = reader
        batch.validate(full=True)
    except (pa.ArrowException, ValueError, OSError, MemoryError) as error:
        raise Unreadable(table, f"it is no Arrow stream of one batch: {error}") from error
    for name, types in _COLUMNS[table].items():
        _column(batch, table, name, types, nullable=name in _NULLABLE[table])
    if not batch.num_rows:
        raise Unreadable(table, "it has no rows")
    return batch


def _is_compressed(rows: pa.Message) -> bool:
    """Return whether a batch is compressed, which headrace never writes: see Arrow's `Message.header.compression`."""
    metadata = rows.metadata.to_pybytes()
    try:
        message = Flat(metadata, flatbuffers.encode.Get(UOffsetTFlags.packer_type, metadata, 0))
        batch = Flat(metadata, 0)
        message.Union(batch, message.Offset(_HEADER))
        return bool(batch.Offset(_COMPRESSION))
    except (struct.error, IndexError, TypeError) as error:
        raise ValueError(f"its header is damaged: {error}") from error


def _check_table(table: str, schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    if _FORMAT not in metadata:
        raise without_format(table)
    number = metadata[_FORMAT].decode(errors="replace")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise Unreadable(table, f"its format is {number[:40]!r}, not a number")
    check_format(table, int(number), metadata.get(_VERSION, b"unknown").decode(errors="replace")[:40])
    if metadata.get(_TABLE) != table.encode():
        raise Unreadable(table, f"it is a table of {metadata.get(_TABLE, b'')[:40]!r}")
    if len(set(schema.names)) < len(schema.names):
        raise Unreadable(table, "two of its columns have the same name")


def _column(batch: pa.RecordBatch, table: str, name: str, types: Sequence[pa.DataType], *, nullable: bool) -> pa.Array:
    """Return a column by its name; without `types`, it may be of any type."""
    at = batch.schema.get_field_index(name)
    if at < 0:
        raise Unreadable(table, f"it has no column {name!r}")
    column = batch.column(at)
    if types and column.type not in types:
        raise Unreadable(table, f"column {name!r} is {column.type}, not {' or '.join(map(str, types))}")
    if column.null_count and not nullable:
        raise Unreadable(table, f"column {name!r} has {column.null_count} missing values")
    return column
