"""What travels on the topics that only headrace reads: columnar batches as Arrow IPC.

A vector is split into `numbers` (float64, NaN where missing) and `categories` (strings, None where
missing), each in the order of the model's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.definition import FieldType, ModelDefinition

Numbers = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Categories = list[list[str | None]]

#: Rows of one message: well below the broker's 5 MB for the widest vectors.
MAX_ROWS = 2_048

# Columns before those of the vector, whose features may have the same names.
_VECTOR_COLUMNS, _LOG_COLUMNS, _PREDICTION_COLUMNS = 5, 9, 6


@dataclass(frozen=True)
class Vectors:
    """N vectors of one model.

    Attributes
    ----------
    ids, times
        Event id and event time (µs) of each.
    positions
        For each the 20 bytes of its event's position.
    cuts
        int64[N, C, 3]: the position (ledger, entry, batch) of each row read, in the order of
        `headrace.kernel.assemble.cut_layout`; -1 where there was no row.
    numbers
        float64[N, n]: the numeric features.
    categories
        For each string feature its column of N values.
    entities
        Of a forecast: the entity of each.
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
        """The vectors at these rows."""
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
        """The same vectors in runs of at most `size`."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


class Kind(IntEnum):
    """The kinds of entries of a model's log."""

    QUESTION = 0
    ANSWER = 1
    #: The bound of a question is over, and it has no answer that counts.
    UNANSWERED = 2


@dataclass(frozen=True)
class LogEntries:
    """N entries of a model's log of questions and answers, in its order.

    Attributes
    ----------
    seqs
        The place of each entry in the log.
    kinds
        int8[N]: see `Kind`.
    questions
        The place of each entry's question; of a question its own.
    ids, times
        Event id and event time (µs) of the question.
    label_times
        When each answer became known (µs); of other entries the time of the question.
    labels
        float64[N] (binary: 0.0 or 1.0), or the classes as text. NaN, or empty, where the entry is no answer.
    weights
        float64[N]: how many examples an answer stands for.
    numbers, categories
        The vector, as in `Vectors`; an answer repeats that of its question, an unanswered entry has none.
    made
        bool[N]: whether each entry was made from kept events after a change of the definition, so that its question was
        never asked; None: none was.
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
        """The answers: each is an example, with the vector of its question."""
        return self.take(np.flatnonzero(self.kinds == Kind.ANSWER).tolist())

    def take(self, rows: Sequence[int]) -> LogEntries:
        """The entries at these rows."""
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
    """N predictions served. `labels` are the classes predicted (multiclass), else None."""

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


def encode_vectors(model: ModelDefinition, vectors: Vectors) -> bytes:
    """One message of the features topic."""
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
    return _encode(columns, _vector_columns(model, vectors.numbers, vectors.categories))


def decode_vectors(model: ModelDefinition, data: bytes) -> Vectors:
    """The inverse of `encode_vectors`."""
    batch = _decode(data)
    size, header = batch.num_rows, _header(batch, _VECTOR_COLUMNS)
    cut = header.column("cut")
    flat = np.empty(0, np.int64) if pa.types.is_null(cut.type) else cut.flatten().to_numpy()
    numbers, categories = _vector_of(model, batch, _VECTOR_COLUMNS)
    entities = header.column("entity").to_pylist() if model.entity else None
    return Vectors(
        header.column("id").to_pylist(),
        header.column("time").to_numpy(),
        header.column("position").to_pylist(),
        flat.reshape(size, -1, 3) if size else flat.reshape(0, 0, 3),
        numbers,
        categories,
        entities,
    )


def positions_of(data: bytes) -> list[bytes]:
    """The positions of a message of a features topic, whatever definition its vectors are of."""
    return list(_header(_decode(data), _VECTOR_COLUMNS).column("position").to_pylist())


def last_sequence_of(data: bytes) -> int:
    """The place of the last entry of a message of a log, whatever definition it is of."""
    return int(_header(_decode(data), _LOG_COLUMNS).column("seq")[-1].as_py())


def encode_log(model: ModelDefinition, entries: LogEntries) -> bytes:
    """One message of a model's log."""
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
    return _encode(columns, _vector_columns(model, entries.numbers, entries.categories))


def decode_log(model: ModelDefinition, data: bytes) -> LogEntries:
    """The inverse of `encode_log`."""
    batch = _decode(data)
    header = _header(batch, _LOG_COLUMNS)
    label = header.column("label")
    numbers, categories = _vector_of(model, batch, _LOG_COLUMNS)
    return LogEntries(
        header.column("seq").to_numpy(),
        header.column("kind").to_numpy(),
        header.column("question").to_numpy(),
        header.column("id").to_pylist(),
        header.column("time").to_numpy(),
        header.column("label_time").to_numpy(),
        label.to_pylist() if pa.types.is_string(label.type) else label.to_numpy(),
        header.column("weight").to_numpy(),
        numbers,
        categories,
        header.column("made").to_numpy(zero_copy_only=False),
    )


def encode_predictions(model: ModelDefinition, predictions: Predictions) -> bytes:
    """One message of the predictions topic."""
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
    return _encode(columns, _vector_columns(model, predictions.numbers, predictions.categories))


def decode_predictions(model: ModelDefinition, data: bytes) -> Predictions:
    """The inverse of `encode_predictions`."""
    batch = _decode(data)
    header = _header(batch, _PREDICTION_COLUMNS)
    label = header.column("label")
    numbers, categories = _vector_of(model, batch, _PREDICTION_COLUMNS)
    return Predictions(
        header.column("id").to_pylist(),
        header.column("time").to_numpy(),
        header.column("position").to_pylist(),
        header.column("version").to_numpy(),
        header.column("score").to_numpy(),
        None if label.null_count == len(label) else label.to_pylist(),
        numbers,
        categories,
    )


def made_for(model: ModelDefinition, properties: Mapping[str, str]) -> bool:
    """Whether a message holds what a model's examples are made of: those of another learner are as good."""
    return properties.get("definition") == model.hash or properties.get("examples") == model.examples_hash


def predicted_questions(data: bytes) -> tuple[list[str], list[int]]:
    """The ids and times of a message of the predictions topic, whatever definition answered."""
    header = _header(_decode(data), _PREDICTION_COLUMNS)
    return header.column("id").to_pylist(), header.column("time").to_pylist()


def _vector_columns(model: ModelDefinition, numbers: Numbers, categories: Categories) -> list[tuple[str, pa.Array]]:
    columns: list[tuple[str, pa.Array]] = []
    number = category = 0
    for feature in model.features:
        if feature.type is FieldType.STRING:
            columns.append((feature.name, pa.array(categories[category], pa.string())))
            category += 1
        else:
            columns.append((feature.name, pa.array(numbers[:, number], pa.float64())))
            number += 1
    return columns


def _vector_of(model: ModelDefinition, batch: pa.RecordBatch, first: int) -> tuple[Numbers, Categories]:
    # By place, not by name: a feature may be called `id`.
    texts = [feature.type is FieldType.STRING for feature in model.features]
    numbers = np.empty((batch.num_rows, texts.count(False)))
    categories: Categories = []
    number = 0
    for offset, text in enumerate(texts):
        column = batch.column(first + offset)
        if text:
            categories.append(column.to_pylist())
        else:
            numbers[:, number] = column.to_numpy()
            number += 1
    return numbers, categories


def _header(batch: pa.RecordBatch, columns: int) -> pa.RecordBatch:
    return batch.select(list(range(columns)))


def _encode(columns: dict[str, pa.Array], vector: list[tuple[str, pa.Array]]) -> bytes:
    names = [*columns, *(name for name, _ in vector)]
    batch = pa.RecordBatch.from_arrays([*columns.values(), *(column for _, column in vector)], names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _decode(data: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_next_batch()
