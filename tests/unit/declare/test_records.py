"""Records: events as objects of their stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import numpy as np
import pytest

from headrace import Field, Stream
from headrace.compiler import compile
from headrace.declare import event_json, stream_name
from headrace.declare.streams import Marks
from headrace.engine.events import StreamCodec
from headrace.engine.marks import Marking
from headrace.errors import DefinitionErrors, InvalidEvent

AT = datetime(2013, 1, 1, 10, tzinfo=UTC)
MICROS = 1_357_034_400_000_000


class Departed(Stream, key="tail", time="at", id="flight"):
    flight: Field[str]
    at: Field[datetime]
    tail: str
    delay_min: Field[float | None] = Field(default=None)
    seats: int | None
    diverted: bool = None  # type: ignore[assignment]


class Arrived(Departed, key="tail", time="at", id="flight"):
    gate: Field[str]


class Trip(Stream, key="zone", time="at", id="content", time_format="%d.%m.%Y"):
    at: datetime
    zone: str


def departed(**changes: Any) -> Departed:
    return Departed(**{"flight": "AA1", "at": AT, "tail": "N1", "diverted": False, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(InvalidEvent) as raised:
        departed(**changes)
    return str(raised.value)


def test_a_record_has_its_fields_values() -> None:
    record = departed(delay_min=3, seats=180)
    assert (record.flight, record.at, record.delay_min, record.seats) == ("AA1", AT, 3.0, 180)
    assert repr(departed()) == (
        "Departed(flight='AA1', at=datetime.datetime(2013, 1, 1, 10, 0, tzinfo=datetime.timezone.utc), "
        "tail='N1', delay_min=None, seats=None, diverted=False)"
    )


def test_records_with_the_same_values_are_equal() -> None:
    assert departed() == departed()
    assert len({departed(), departed(), departed(seats=1)}) == 2
    assert departed() != Arrived(flight="AA1", at=AT, tail="N1", seats=None, diverted=False, gate="B2")


def test_a_record_does_not_change() -> None:
    record = departed()
    with pytest.raises(AttributeError, match="field 'seats' of a record cannot be changed"):
        record.seats = 3


def test_a_stream_still_gives_columns() -> None:
    departed()
    assert [repr(column) for column in (Departed.delay_min, Arrived.gate, Departed.tail)] == [
        "<expression delay_min>",
        "<expression gate>",
        "<expression tail>",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flight": 3}, "field 'flight' is 3, expected a str"),
        ({"flight": None}, "field 'flight' is None, expected a str"),
        ({"flight": "\ud800"}, "field 'flight' is '\\ud800', expected a str"),
        ({"at": "2013-01-01"}, "field 'at' is '2013-01-01', expected a datetime"),
        ({"delay_min": float("inf")}, "field 'delay_min' is inf, expected a finite float, or None"),
        ({"delay_min": True}, "field 'delay_min' is True, expected a finite float, or None"),
        ({"delay_min": 10**400}, "field 'delay_min' is 1000"),
        ({"seats": 1.5}, "field 'seats' is 1.5, expected an int of 64 bits, or None"),
        ({"seats": 2**63}, "field 'seats' is 9223372036854775808, expected an int of 64 bits, or None"),
        ({"diverted": 1}, "field 'diverted' is 1, expected a bool"),
        ({"seat": 3}, "field 'seat' is no field of stream departed, expected a field. Did you mean 'seats'?"),
        ({"flight": 3, "tail": 4}, "field 'flight' is 3, expected a str; field 'tail' is 4, expected a str"),
    ],
)
def test_a_wrong_field_is_refused(changes: dict[str, object], message: str) -> None:
    assert refusal(**changes).startswith(message)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidEvent, match="field 'at' is missing, expected a datetime"):
        Trip(zone="A")  # type: ignore[call-arg]


def test_a_stream_without_fields_has_no_records() -> None:
    with pytest.raises(TypeError, match="make a record of one of its subclasses"):
        Stream()


def test_numbers_of_numpy_are_numbers() -> None:
    record = departed(delay_min=np.float32(1.5), seats=np.int64(180))
    assert json.loads(event_json(record)) == {
        "flight": "AA1", "at": "2013-01-01T10:00:00+00:00", "tail": "N1", "delay_min": 1.5, "seats": 180,
        "diverted": False,
    }  # fmt: skip


def test_nan_is_a_missing_value() -> None:
    assert departed(delay_min=float("nan")).delay_min is None


@pytest.mark.parametrize("at", [AT, AT.replace(tzinfo=None), AT.astimezone(timezone(timedelta(hours=-5)))])
def test_ingest_reads_the_json_of_a_record(at: datetime) -> None:
    codec = StreamCodec(compile({"Departed": Departed}).stream("departed"))
    payload, key, time = codec.canonical(event_json(departed(at=at, seats=180)))
    assert (json.loads(payload)["seats"], key, time) == (180, "N1", MICROS)


def test_an_id_of_the_content_is_not_given() -> None:
    trip = Trip(at=AT, zone="A")
    codec = StreamCodec(compile({"Trip": Trip}).stream("trip"))
    assert codec.canonical(event_json(trip))[2] == MICROS
    with pytest.raises(InvalidEvent, match="field 'content' is no field of stream trip"):
        Trip(at=AT, zone="A", content="x")  # type: ignore[call-arg]


def test_a_record_knows_its_stream() -> None:
    assert stream_name(type(departed())) == "departed"


def test_fields_and_plain_annotations_compile_alike() -> None:
    fields = compile({"Departed": Departed}).stream("departed").fields
    assert [(field.name, field.type, field.optional) for field in fields] == [
        ("flight", "string", False),
        ("at", "time", False),
        ("tail", "string", False),
        ("delay_min", "float", True),
        ("seats", "int", True),
        ("diverted", "bool", False),
    ]


def test_a_default_other_than_none_is_refused() -> None:
    class Paid(Stream, key="card", time="at", id="card"):
        card: Field[str]
        at: Field[datetime]
        amount: Field[float] = Field(default=3.0)

    with pytest.raises(DefinitionErrors, match="field 'amount' has a default"):
        compile({"Paid": Paid})


def test_a_field_of_another_type_is_refused() -> None:
    class Paid(Stream, key="card", time="at", id="card"):
        card: Field[str]
        at: Field[datetime]
        amount: Field[complex]

    with pytest.raises(DefinitionErrors, match="field 'amount' has the wrong type complex"):
        compile({"Paid": Paid})


def test_type_checkers_know_who_may_send_marks() -> None:
    assert get_args(Marks) == tuple(marking.value for marking in Marking)
