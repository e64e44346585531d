"""Between an event's JSON and its typed record.

Two forms are read: what callers send (times as ISO 8601 or integer µs) and what stands on a topic
(times as integer µs). The fast path decodes whole batches; only what fails is looked at field by field,
to say what is wrong with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import pulsar

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.errors import InvalidEvent
from headrace.events.columns import ColumnArray, EventColumns
from headrace.events.schema import avro_schema

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_MAX_EXACT = 2**53 - 1
#: The years 1 to 9999: what ISO 8601 can say. Seconds or nanoseconds in the place of µs are mostly outside.
_MIN_TIME, _MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
#: What msgspec decodes a field as: bounded, since numbers beyond have no place in a column.
PYTHON: dict[FieldType, Any] = {
    FieldType.FLOAT: float,
    FieldType.INT: Annotated[int, msgspec.Meta(ge=_MIN_INT, le=_MAX_INT)],
    FieldType.BOOL: bool,
    FieldType.STRING: str,
    FieldType.TIME: Annotated[int, msgspec.Meta(ge=_MIN_TIME, le=_MAX_TIME)],
}
_EXPECTED: dict[FieldType, str] = {
    FieldType.FLOAT: "a finite number",
    FieldType.INT: "an integer of 64 bits",
    FieldType.BOOL: "true or false",
    FieldType.STRING: "a string",
    FieldType.TIME: "a time (ISO 8601, or integer microseconds since the epoch)",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StreamCodec:
    """Reads, checks and writes the events of one stream."""

    def __init__(self, stream: StreamDefinition) -> None:
        self.stream = stream
        fields = [_struct_field(field) for field in stream.fields]
        self._record = msgspec.defstruct(stream.name, fields, kw_only=True, gc=False)
        self._one = msgspec.json.Decoder(self._record)
        self._encode = msgspec.json.Encoder().encode
        self._names = [(field, attrgetter(field.name)) for field in stream.fields]

    def canonical(self, event: bytes) -> tuple[bytes, str, int]:
        """Check what a caller sent.

        Returns
        -------
        payload, key, time
            The event as it stands on the topic, its partition key and its event time (µs).

        Raises
        ------
        InvalidEvent
            It does not fit the stream; says which field, which value and what was expected.
        """
        self._check_size(event)
        try:
            record = self._one.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            record = self._explain(event)
        payload = self._encode(record)
        # What it is on the topic may be longer than what was sent: missing fields are null there.
        self._check_size(payload)
        key = getattr(record, self.stream.key)
        return payload, "" if key is None else str(key), getattr(record, self.stream.time)

    def columns(self, payloads: Sequence[bytes]) -> tuple[EventColumns, list[int], list[tuple[int, InvalidEvent]]]:
        """Decode what stands on the topic.

        Returns
        -------
        events
            The valid ones, in order.
        valid
            Their indices in `payloads`.
        invalid
            The index of each other, with its reason.
        """
        try:
            # Each by itself: joined into one array they decode no faster, and two halves could make a whole.
            decode = self._one.decode
            if max(map(len, payloads), default=0) <= self.stream.max_bytes:
                return self._to_columns([decode(payload) for payload in payloads]), list(range(len(payloads))), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        invalid: list[tuple[int, InvalidEvent]] = []
        records, valid = [], []
        for index, payload in enumerate(payloads):
            try:
                records.append(self._checked(payload))
                valid.append(index)
            except InvalidEvent as error:
                invalid.append((index, error))
        return self._to_columns(records), valid, invalid

    def request(self, event: bytes, needed: frozenset[str]) -> EventColumns:
        """One event of a scoring request: only the `needed` fields must be there.

        Raises
        ------
        InvalidEvent
            A needed field is absent or of the wrong type.
        """
        self._check_size(event)
        found = _object(event)
        values: dict[str, Any] = {}
        for field in self.stream.fields:
            if field.name in needed or field.name in found:
                values[field.name] = read_value(field, found.get(field.name, msgspec.UNSET))
        fields = {
            field.name: column_of(field, [values[field.name]]) for field in self.stream.fields if field.name in values
        }
        time = values.get(self.stream.time)
        return EventColumns(
            np.array([time if time is not None else 0], np.int64), [str(values.get(self.stream.id, ""))], fields
        )

    def schema(self) -> pulsar.schema.Schema:
        """The stream's schema, as producers in any language register or check it."""
        return _RawJson(self.stream)

    def _to_columns(self, records: Sequence[Any]) -> EventColumns:
        fields = {field.name: column_of(field, [get(record) for record in records]) for field, get in self._names}
        ids = attrgetter(self.stream.id)
        time = attrgetter(self.stream.time)
        return EventColumns(
            np.fromiter((time(record) for record in records), np.int64, len(records)),
            [str(ids(record)) for record in records],
            fields,
        )

    def _checked(self, payload: bytes) -> Any:
        self._check_size(payload)
        try:
            return self._one.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._explain(payload)

    def _check_size(self, event: bytes) -> None:
        if len(event) > self.stream.max_bytes:
            raise InvalidEvent("", f"{len(event)} bytes long", f"at most {self.stream.max_bytes} bytes")

    def _explain(self, event: bytes) -> Any:
        """Read an event field by field: it is valid in a laxer form, or this raises what is wrong."""
        found = _object(event)
        return self._record(
            **{field.name: read_value(field, found.get(field.name, msgspec.UNSET)) for field in self.stream.fields}
        )


def _struct_field(field: Field) -> Any:
    kind: Any = PYTHON[field.type]
    return (field.name, kind | None, None) if field.optional else (field.name, kind)


def _object(event: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(event)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("", f"not decodable ({_short(str(error))})", "a JSON object") from None
    if not isinstance(found, dict):
        raise InvalidEvent("", _short(_told(found)), "a JSON object")
    return found


def read_value(field: Field, value: Any) -> Any:
    """A field's value from a parsed one; `msgspec.UNSET` where there is none.

    Raises
    ------
    InvalidEvent
        It is no value of the field's type.
    """
    expected = _EXPECTED[field.type] + (", or null" if field.optional else "")
    if value is msgspec.UNSET or value is None:
        if field.optional:
            return None
        raise InvalidEvent(field.name, "missing" if value is msgspec.UNSET else "null", expected)
    if field.type is FieldType.FLOAT and isinstance(value, float) and math.isnan(value) and field.optional:
        return None
    read = _READ[field.type](value)
    if read is None:
        raise InvalidEvent(field.name, _short(_told(value)), expected)
    return read


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _int(value: Any) -> int | None:
    ok = isinstance(value, int) and not isinstance(value, bool) and _MIN_INT <= value <= _MAX_INT
    return value if ok else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    # JSON can escape half a surrogate pair, which no text can hold.
    return value if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value) else None


def _time(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        # A time without a zone is UTC: a server's own zone must not change what an event means.
        delta = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        number: int | None = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    else:
        number = _int(value)
    # A zone can carry a time beyond the years that it is written in.
    return number if number is not None and _MIN_TIME <= number <= _MAX_TIME else None


_READ = {
    FieldType.FLOAT: _float,
    FieldType.INT: _int,
    FieldType.BOOL: _bool,
    FieldType.STRING: _string,
    FieldType.TIME: _time,
}


def column_of(field: Field, values: list[Any]) -> ColumnArray:
    """A field's values as the kernel takes them."""
    if field.type is FieldType.STRING or (field.type is FieldType.INT and not all(map(_is_exact, values))):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    # numpy reads None as NaN.
    return np.array(values, dtype=np.float64)


def _is_exact(value: int | None) -> bool:
    """Whether a float64 tells an integer from its neighbours: keys and ids must not become one another."""
    return value is None or -_MAX_EXACT <= value <= _MAX_EXACT


def _told(value: Any) -> str:
    """A value as JSON, in the characters that it has; half a surrogate pair, which no text can hold, stays escaped."""
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _RawJson(pulsar.schema.Schema):  # type: ignore[misc]
    """A JSON schema whose payloads are bytes already: headrace encodes and checks events itself."""

    def __init__(self, stream: StreamDefinition) -> None:
        super().__init__(bytes, pulsar.schema.schema._pulsar.SchemaType.JSON, avro_schema(stream), "JSON")

    def encode(self, obj: bytes) -> bytes:
        return obj

    def decode(self, data: bytes) -> bytes:
        return data
