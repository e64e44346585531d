"""A model's log in columns: millions of entries in little memory, read by the same rules as the lives' recorder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.definition import ModelDefinition
from tests.oracle.record import LoggedEntry, Message
from tests.simulations.fraud.payments import Bools, Floats, Ints, payment_id

KINDS = ("question", "answer", "unanswered")
QUESTION, ANSWER, UNANSWERED = range(3)

_COLUMNS = ("seq", "kind", "question", "time", "label_time", "label", "weight")


@dataclass(frozen=True)
class ExampleLog:
    """The entries that count, in order; `payments` are their numbers, `vectors` their contents."""

    columns: dict[str, Any]
    payments: Ints
    vectors: Floats
    released: Bools

    def entries(self) -> Iterator[LoggedEntry]:
        """Yield the entries as the oracle takes them, without their vectors."""
        columns = [self.columns[name].tolist() for name in _COLUMNS]
        rows = zip(*columns, self.payments.tolist(), self.released.tolist(), strict=True)
        for seq, kind, question, time, label_time, label, weight, payment, released in rows:
            yield LoggedEntry(
                seq, KINDS[kind], question, payment_id(payment), time, label, label_time, weight, {}, released
            )

    def rows(self, kind: int) -> Ints:
        """Return the rows of the entries of a kind."""
        return np.flatnonzero(self.columns["kind"] == kind)


def example_log(model: ModelDefinition, messages: Iterable[Message]) -> ExampleLog:
    """Read a log: entries of owners that were not superseded, and the first of a number."""
    parts: list[tuple[list[Any], Ints, Floats, Bools]] = []
    epoch = following = 0
    for message in messages:
        mine = int(message.properties.get("epoch", 0))
        if mine < epoch or not message.payload:
            epoch = max(epoch, mine)
            continue
        epoch = mine
        with pa.ipc.open_stream(message.payload) as reader:
            batch = reader.read_next_batch()
        seqs = batch.column("seq").to_numpy()
        batch = batch.slice(int(np.searchsorted(seqs, following)))
        if not batch.num_rows:
            continue
        following = batch.column("seq")[-1].as_py() + 1
        numbers = pc.cast(pc.utf8_slice_codeunits(batch.column("id"), 1), pa.int64())
        released = np.full(batch.num_rows, message.properties.get("released") == "1")
        vectors = [_floats(batch.column(f"feature.{feature.name}")) for feature in model.features]
        columns = [batch.column(name).to_numpy() for name in _COLUMNS]
        parts.append((columns, numbers.to_numpy(), np.column_stack(vectors), released))
    return ExampleLog(
        {name: np.concatenate([part[0][at] for part in parts]) for at, name in enumerate(_COLUMNS)},
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def _floats(column: pa.Array) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values
