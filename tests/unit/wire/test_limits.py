"""Messages stay below the broker's limit; what cannot be split is refused and reported."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.definition import (
    Column,
    FeatureDefinition,
    Field,
    FieldType,
    LabelDefinition,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    Task,
)
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.trial import Trial
from headrace.errors import TooLarge
from headrace.runtime.pulsar.dead_letter_writer import MAX_EVENT, dead_letter_message
from headrace.runtime.pulsar.dead_letters import StoredDeadLetter
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.limits import MAX_MESSAGE, MAX_ROW
from headrace.wire.position import START
from headrace.wire.tables import (
    Kind,
    LogEntries,
    Predictions,
    Vectors,
    decode_log,
    decode_predictions,
    decode_vectors,
    log_messages,
    prediction_messages,
    vector_messages,
)
from headrace.wire.topics import Topics

TEXT = FeatureDefinition("text", FieldType.STRING, Column("text"))
MODEL = ModelDefinition("m", "asked", "told", Task.MULTICLASS, (TEXT,), "learner")
#: The limit of an unconfigured Pulsar.
BROKER = 5 * 2**20
TEXTS: list[list[str | None]] = [[f"{row:06d}{'x' * 3_000}" for row in range(2_500)]]
IDS = [f"e{row}" for row in range(2_500)]
TIMES = np.arange(2_500)
NUMBERS = np.empty((2_500, 0))


def vectors(ids: list[str], texts: list[list[str | None]]) -> Vectors:
    size = len(ids)
    return Vectors(
        ids, np.arange(size), [START.to_bytes()] * size, np.zeros((size, 1, 3), np.int64), np.empty((size, 0)), texts
    )


def test_vectors_of_long_texts_are_split_by_their_bytes() -> None:
    messages = list(vector_messages(MODEL, vectors(IDS, TEXTS)))
    assert max(map(len, messages)) <= MAX_MESSAGE < BROKER
    assert [id for message in messages for id in decode_vectors(MODEL, message).ids] == IDS


def test_one_large_row_among_small_ones_is_split_off() -> None:
    texts: list[list[str | None]] = [["x" * (MAX_ROW if row == 700 else 2_500) for row in range(2_000)]]
    messages = list(vector_messages(MODEL, vectors(IDS[:2_000], texts)))
    assert max(map(len, messages)) <= MAX_MESSAGE
    assert [id for message in messages for id in decode_vectors(MODEL, message).ids] == IDS[:2_000]


def test_entries_of_a_log_are_split_by_their_bytes() -> None:
    kinds = np.full(2_500, Kind.ANSWER, np.int8)
    labels, ones = ["y" * 3_000] * 2_500, np.ones(2_500)
    entries = LogEntries(TIMES, kinds, TIMES, IDS, TIMES, TIMES, labels, ones, NUMBERS, TEXTS)
    messages = list(log_messages(MODEL, entries))
    assert max(map(len, messages)) <= MAX_MESSAGE
    assert [seq for message in messages for seq in decode_log(MODEL, message).seqs.tolist()] == TIMES.tolist()


def test_predictions_are_split_by_their_bytes() -> None:
    table = Predictions(IDS, TIMES, [START.to_bytes()] * 2_500, TIMES, np.ones(2_500), ["z"] * 2_500, NUMBERS, TEXTS)
    messages = list(prediction_messages(MODEL, table))
    assert max(map(len, messages)) <= MAX_MESSAGE
    assert [id for message in messages for id in decode_predictions(MODEL, message).ids] == IDS


def test_what_cannot_be_split_says_so() -> None:
    with pytest.raises(TooLarge, match=f"a vector of model 'm' has .* at most {MAX_MESSAGE}"):
        list(vector_messages(MODEL, vectors(["a", "b"], [["x" * MAX_MESSAGE, "y"]])))


def test_a_text_that_no_message_can_hold_is_refused_on_arrival_with_the_limit() -> None:
    fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), Field("text", FieldType.STRING))
    stream = StreamDefinition("asked", fields, "id", "at", "id", 0, 0, max_bytes=4 * 2**20)
    label = LabelDefinition("told", "asked", "asked", "id", Column("text"), FieldType.STRING, 10)
    loop = LoopDefinition("loop", (stream,), (), (label,), (MODEL,))
    events, _, _ = StreamCodec(stream).columns(
        [b'{"id": "%d", "at": 1, "text": "%s"}' % (row, b"x" * size) for row, size in enumerate((9, MAX_ROW + 1, 9))]
    )
    ((row, why),) = Trial(loop, "asked").failures(events).items()
    assert row == 1
    assert (why.value, why.expected) == (
        f"{MAX_ROW + 2} bytes of text in model 'm'",
        f"at most {MAX_ROW} bytes of text",
    )


def test_a_dead_letter_of_a_large_message_is_cut_and_says_so() -> None:
    event = b"{" + b"x" * (BROKER - 1)
    payload, properties = dead_letter_message(DeadLetter(stream="asked", expected="JSON"), event)
    assert len(payload) < MAX_MESSAGE
    letter = StoredDeadLetter(START, DeadLetter.FromString(payload))
    assert letter.message.event == event[:MAX_EVENT]
    assert letter.message.expected == f"JSON (the letter holds the first {MAX_EVENT} of its {BROKER} bytes)"
    assert not letter.is_event(Topics("loop"))
    assert properties["stream"] == "asked"
