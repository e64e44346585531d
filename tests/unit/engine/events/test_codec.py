"""The events that a stream accepts, and its errors about those that it does not."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent

DEPARTED = StreamDefinition(
    name="departed",
    fields=(
        Field("flight", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("tail", FieldType.STRING, optional=True),
        Field("delay", FieldType.FLOAT),
        Field("gust", FieldType.FLOAT, optional=True),
        Field("seats", FieldType.INT),
        Field("night", FieldType.BOOL),
    ),
    key="tail",
    time="at",
    id="flight",
    lateness=0,
    horizon=0,
    time_format="us",
    max_bytes=500,
)
GOOD = {"flight": "UA1", "at": 1_000, "tail": "N1", "delay": 1.5, "gust": None, "seats": 3, "night": False}
CODEC = StreamCodec(DEPARTED)
MISSING = object()


def event(**changes: object) -> bytes:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not MISSING}
    return json.dumps(fields).encode()


TIME = "a time (ISO 8601, or integer microseconds since the epoch)"
BAD = {
    "missing": (event(delay=MISSING), "delay", "missing", "a finite number"),
    "null": (event(flight=None), "flight", "null", "a string"),
    "NaN": (event(delay=math.nan), "delay", "NaN", "a finite number"),
    "infinite": (event(delay=math.inf), "delay", "Infinity", "a finite number"),
    "infinite where optional": (event(gust=-math.inf), "gust", "-Infinity", "a finite number, or null"),
    "too large for a double": (
        event(delay=MISSING)[:-1] + b', "delay": 1e999}',
        "delay",
        "Infinity",
        "a finite number",
    ),
    "text for a number": (event(delay="12"), "delay", '"12"', "a finite number"),
    "truth for a number": (event(delay=True), "delay", "true", "a finite number"),
    "a number for text": (event(flight=7), "flight", "7", "a string"),
    "a fraction for an integer": (event(seats=1.5), "seats", "1.5", "an integer of 64 bits"),
    "an integer of 65 bits": (event(seats=2**63), "seats", str(2**63), "an integer of 64 bits"),
    "a number for truth": (event(night=1), "night", "1", "true or false"),
    "no time": (event(at="yesterday"), "at", '"yesterday"', TIME),
    "a time in nanoseconds": (event(at=1_700_000_000 * 10**9), "at", str(1_700_000_000 * 10**9), TIME),
    "letters beyond ASCII": (event(delay="héß"), "delay", '"héß"', "a finite number"),
    "half a surrogate pair": (event(flight="\ud800"), "flight", '"\\ud800"', "a string"),
    "an empty id": (
        event(flight=""),
        "flight",
        '""',
        'an id that is not empty; for events without ids, declare id="content"',
    ),
    "a list": (b"[1]", "", "[1]", "a JSON object"),
    "oversized": (event(flight="x" * 500), "", f"{len(event(flight='x' * 500))} bytes long", "at most 500 bytes"),
}


@pytest.mark.parametrize(("sent", "field", "value", "expected"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_named(sent: bytes, field: str, value: str, expected: str) -> None:
    with pytest.raises(InvalidEvent) as raised:
        CODEC.canonical(sent)
    assert (raised.value.field, raised.value.value, raised.value.expected) == (field, value, expected)


@pytest.mark.parametrize(
    "sent", [b"", b"\xff", b"{", b'{"flight": "\xff"}', b"[" * 200, b"nonsense", b'{"a":1}{"b":2}']
)
def test_what_cannot_be_decoded_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"the event is not decodable .* expected a JSON object"):
        CODEC.canonical(sent)


@pytest.mark.parametrize("sent", [bad[0] for bad in BAD.values()], ids=BAD.keys())
def test_a_bad_message_of_a_topic_leaves_the_others(sent: bytes) -> None:
    events, valid, invalid = CODEC.columns([event(), sent, event(flight="UA2")])
    assert (events.ids, valid, [index for index, _ in invalid]) == (["UA1", "UA2"], [0, 2], [1])


def test_halves_are_not_joined_into_a_whole() -> None:
    text = event()
    first, second = text.split(b", ", 1)
    _, valid, invalid = CODEC.columns([text + b"," + text, first, second])
    assert (valid, [index for index, _ in invalid]) == ([], [0, 1, 2])


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        (1_000, 1_000),
        ("1970-01-01T00:00:00.001Z", 1_000),
        ("1970-01-01T00:00:00.001", 1_000),
        ("1970-01-01T02:00:00.001+02:00", 1_000),
        ("1970-01-02", 86_400 * 10**6),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_times_become_microseconds(written: object, microseconds: int) -> None:
    payload, _, time = CODEC.canonical(event(at=written))
    assert (time, json.loads(payload)["at"]) == (microseconds, microseconds)


def test_the_key_is_that_of_the_entity() -> None:
    assert CODEC.canonical(event())[1] == "N1"
    assert CODEC.canonical(event(tail=None))[1] == ""


def test_optional_fields_may_be_absent_null_or_nan() -> None:
    payloads = [CODEC.canonical(event(gust=value))[0] for value in (MISSING, None, math.nan)]
    assert [json.loads(payload)["gust"] for payload in payloads] == [None, None, None]


def test_fields_that_the_stream_lacks_are_left_out() -> None:
    assert "extra" not in json.loads(CODEC.canonical(event(extra=1))[0])


finite = st.floats(allow_nan=False, allow_infinity=False)
times = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
records = st.fixed_dictionaries(
    {
        "flight": st.text(min_size=1, max_size=8),
        "at": times,
        "tail": st.none() | st.text(max_size=8),
        "delay": finite,
        "gust": st.none() | finite,
        "seats": st.integers(-(2**63), 2**63 - 1),
        "night": st.booleans(),
    }
)


@settings(max_examples=50)
@given(st.lists(records, max_size=4))
def test_what_is_sent_is_what_the_kernel_gets(sent: list[dict[str, object]]) -> None:
    payloads = [CODEC.canonical(msgspec.json.encode(record))[0] for record in sent]
    assert [json.loads(payload) for payload in payloads] == sent
    events, valid, invalid = CODEC.columns(payloads)
    assert (valid, invalid) == (list(range(len(sent))), [])
    assert events.ids == [record["flight"] for record in sent]
    assert events.times.tolist() == [record["at"] for record in sent]
    gusts = [math.nan if record["gust"] is None else record["gust"] for record in sent]
    np.testing.assert_array_equal(events.fields["gust"].astype(float), gusts)


@given(st.binary(max_size=40) | records.map(lambda record: msgspec.json.encode(record)[:-1]))
def test_nothing_but_an_invalid_event_is_ever_raised(sent: bytes) -> None:
    with pytest.raises(InvalidEvent):
        CODEC.canonical(sent)


@pytest.mark.parametrize("written", ["9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_zone_carries_no_time_out_of_the_calendar(written: str) -> None:
    """Ingest used to accept such a time, and its stream could not read it."""
    with pytest.raises(InvalidEvent, match="field 'at' is"):
        CODEC.canonical(event(at=written))


@given(st.integers(0, 600))
@settings(deadline=None)
def test_what_ingest_takes_its_stream_can_read(size: int) -> None:
    """On the topic missing fields are null, so that an event may be longer there than as it was sent."""
    sent = event(flight="f" * size, tail=MISSING, gust=MISSING)
    try:
        payload, _, _ = CODEC.canonical(sent)
    except InvalidEvent:
        return
    _, valid, invalid = CODEC.columns([payload])
    assert (valid, invalid) == ([0], [])


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_scoring_request_may_lack_the_value_of_a_field_that_is_not_needed(value: object) -> None:
    columns = CODEC.request(event(delay=value), frozenset({"seats"}))
    assert "delay" not in columns.fields
    with pytest.raises(InvalidEvent, match=r"field 'delay' is (null|NaN)"):
        CODEC.request(event(delay=value), frozenset({"delay"}))
