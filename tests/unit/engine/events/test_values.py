"""Values at the edges of their types, as callers write them and as the kernel takes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from headrace.definition import Apply, Column, Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.events.timestamps import MAX_TIME, MIN_TIME
from headrace.engine.kernel.expressions import Program
from headrace.errors import InvalidEvent
from tests.oracle.expressions import evaluate

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STREAM = StreamDefinition(
    name="trips",
    fields=(
        Field("content", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("n", FieldType.INT, optional=True),
        Field("ok", FieldType.BOOL, optional=True),
        Field("x", FieldType.FLOAT, optional=True),
    ),
    key="content",
    time="at",
    id="content",
    lateness=0,
    horizon=0,
    content_id=True,
)
DAY = "2026-01-01"
MICROS = 1_767_225_600_000_000


def sent(stream: StreamDefinition = STREAM, **fields: Any) -> dict[str, Any]:
    payload, _, _ = StreamCodec(stream).canonical(json.dumps({"at": DAY} | fields).encode())
    return dict(json.loads(payload))


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("s", MICROS // 10**6),
        ("s", MICROS / 10**6),
        ("ms", MICROS // 1_000),
        ("us", MICROS),
        ("ns", MICROS * 1_000),
        (None, MICROS),
        (None, "20260101"),
        ("%d.%m.%Y %H:%M", "01.01.2026 00:00"),
        ("%d.%m.%Y %H:%M", DAY),
        ("%d.%m.%Y %H:%M", MICROS),
    ],
)
def test_a_time_is_read_as_the_stream_declares(form: str | None, written: object) -> None:
    assert sent(structs.replace(STREAM, time_format=form), at=written)["at"] == MICROS


@pytest.mark.parametrize(
    ("written", "cure"), [(MICROS // 10**6, "s"), (MICROS // 1_000, "ms"), (20_260_101, "s"), (0, "s")]
)
def test_a_number_of_january_1970_is_refused_with_the_cure(written: int, cure: str) -> None:
    with pytest.raises(InvalidEvent, match=rf'not in January 1970: .* time_format="{cure}"'):
        sent(at=written)
    # Text is a time of any year, and a number on a topic counts microseconds.
    assert sent(at="1970-01-01T00:00:01Z")["at"] == 1_000_000
    events, _, invalid = StreamCodec(STREAM).columns([json.dumps({"at": written}).encode()])
    assert (events.times.tolist(), invalid) == ([written], [])


def test_what_a_file_has_of_january_1970_is_sent_so_that_ingest_takes_it() -> None:
    codec = StreamCodec(STREAM)
    payload, time = codec.sendable(b'{"at": "1970-01-01T00:00:01Z"}')
    assert (time, codec.canonical(payload)[2]) == (1_000_000, 1_000_000)
    counting = StreamCodec(structs.replace(STREAM, time_format="s"))
    payload, time = counting.sendable(b'{"at": 1767225600}')
    assert (time, counting.canonical(payload)[2]) == (MICROS, MICROS)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InvalidEvent) as raised:
        sent(at="yesterday", n=1.5, ok="perhaps", x="much")
    assert (raised.value.field, raised.value.value) == ("at", '"yesterday"')
    assert [
        name for name in ("'n' is 1.5", "'ok' is \"perhaps\"", "'x' is \"much\"") if name not in str(raised.value)
    ] == []


@pytest.mark.parametrize(("written", "read"), [(5.0, 5), (-0.0, 0), (2.0**53 - 1, 2**53 - 1), (2**63 - 1, 2**63 - 1)])
def test_a_whole_number_is_an_integer_however_it_is_written(written: float, read: int) -> None:
    assert sent(n=written)["n"] == read


@pytest.mark.parametrize("written", [1.5, 2.0**53, 1e300])
def test_a_float_that_may_be_another_integer_is_none(written: float) -> None:
    with pytest.raises(InvalidEvent, match="an integer of 64 bits"):
        sent(n=written)


@pytest.mark.parametrize(("written", "read"), [("True", True), ("false", False), (True, True)])
def test_truth_may_be_text(written: object, read: bool) -> None:
    assert sent(ok=written)["ok"] is read


def test_json_is_utf8() -> None:
    event = json.dumps({"at": DAY})
    assert StreamCodec(STREAM).canonical(event.encode("utf-8-sig"))[2] == MICROS
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(InvalidEvent, match="a JSON object in UTF-8"):
            StreamCodec(STREAM).canonical(event.encode(encoding))


def test_an_id_is_that_of_the_content() -> None:
    first = sent(n=5, x=1)
    assert len(first["content"]) == 32
    assert sent(at="2026-01-01T01:00:00+01:00", n=5.0, x=1.0, ok=None, content="mine")["content"] == first["content"]
    assert sent(n=6, x=1)["content"] != first["content"]
    # A field that is added, and that old rows lack, changes no id.
    wider = structs.replace(STREAM, fields=(*STREAM.fields, Field("a", FieldType.STRING, optional=True)))
    assert sent(wider, n=5, x=1)["content"] == first["content"]
    # A client that writes to the topic may leave the id out.
    events, _, _ = StreamCodec(STREAM).columns([json.dumps({"at": MICROS, "n": 5, "x": 1}).encode()])
    assert events.ids == [first["content"]]


@given(time=st.integers(MIN_TIME, MAX_TIME))
def test_hours_and_weekdays_are_those_of_the_calendar(time: int) -> None:
    events, _, _ = StreamCodec(STREAM).columns([json.dumps({"at": time}).encode()])
    nodes = [Apply(name, (Column("at"),)) for name in ("hour", "weekday")]
    program = Program(nodes, [Column("at")])
    found = program.run(program.matrix(events.fields, ("at",), 1))[0].tolist()
    moment = EPOCH + timedelta(microseconds=time)
    assert found == [moment.hour, moment.weekday()]
    assert found == [evaluate(node, {"at": time}) for node in nodes]


def test_the_last_microsecond_of_the_calendar_is_in_its_last_hour() -> None:
    events, _, _ = StreamCodec(STREAM).columns([json.dumps({"at": "9999-12-31T23:59:59.999999Z"}).encode()])
    program = Program([Apply("hour", (Column("at"),))], [Column("at")])
    assert program.run(program.matrix(events.fields, ("at",), 1)).tolist() == [[23.0]]
    assert events.times.tolist() == [MAX_TIME]
    assert events.fields["at"].dtype == np.float64
