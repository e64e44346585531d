"""Conversion between an event's JSON and its typed record.

Two forms are read: what callers send (times as ISO 8601, or as the stream declares) and what topics hold
(times as integer µs). The fast path decodes whole batches; only events that fail are examined field by field,
to say what is wrong with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events.columns import ColumnArray, EventColumns, to_floats
from headrace.engine.events.identity import content_id
from headrace.engine.events.timestamps import MAX_TIME, MIN_TIME, counts_micros, in_january_1970, read_time
from headrace.errors import InvalidEvent, all_of
from headrace.wording import as_json, cut

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_MAX_EXACT = 2**53 - 1
#: The types that msgspec decodes fields as: bounded, since larger numbers do not fit a column.
PYTHON: dict[FieldType, Any] = {
    FieldType.FLOAT: float,
    FieldType.INT: Annotated[int, msgspec.Meta(ge=_MIN_INT, le=_MAX_INT)],
    FieldType.BOOL: bool,
    FieldType.STRING: str,
    FieldType.TIME: Annotated[int, msgspec.Meta(ge=MIN_TIME, le=MAX_TIME)],
}
_EXPECTED: dict[FieldType, str] = {
    FieldType.FLOAT: "a finite number",
    FieldType.INT: "an integer of 64 bits",
    FieldType.BOOL: "true or false",
    FieldType.STRING: "a string",
    FieldType.TIME: "a time",
}
#: The unit of times on topics.
_TOPIC = "us"
_BOOLS = {"true": True, "false": False}


class StreamCodec:
    """A codec that reads, checks and writes the events of one stream."""

    def __init__(self, stream: StreamDefinition) -> None:
        self.stream = stream
        fields = [_struct_field(stream, field) for field in stream.fields]
        self._record = msgspec.defstruct(stream.name, fields, kw_only=True, gc=False)
        self._one = msgspec.json.Decoder(self._record)
        self._encode = msgspec.json.Encoder().encode
        self._names = [(field, attrgetter(field.name)) for field in stream.fields]
        self._moments = [get for field, get in self._names if field.type is FieldType.TIME]
        self._content = sorted(field.name for field in stream.given) if stream.content_id else None

    def canonical(self, event: bytes) -> tuple[bytes, str, int]:
        """Check what a caller sent.

        Returns
        -------
        payload, key, time
            The event in the topic's form, its partition key and its event time (µs).

        Raises
        ------
        InvalidEvent
            It does not fit the stream; the error says which field, which value and what was expected.
        """
        record, payload = self._read(event)
        key = getattr(record, self.stream.key)
        return payload, "" if key is None else str(key), getattr(record, self.stream.time)

    def sendable(self, event: bytes) -> tuple[bytes, int]:
        """Check an event of a file; return it in the form that is cheapest for ingest, and its time.

        Raises
        ------
        InvalidEvent
            As in `canonical`.
        """
        record, payload = self._read(event)
        plain = counts_micros(self.stream.time_format) and self._counts_micros(record)
        return (payload if plain else event), getattr(record, self.stream.time)

    def _read(self, event: bytes) -> tuple[Any, bytes]:
        """Return the record that a caller sent, and its form on the topic."""
        self._check_size(event)
        record = self._set_id(self._decode_sent(event))
        payload = self._encode(record)
        # The topic's form may be longer than what was sent: there, missing fields are null.
        self._check_size(payload)
        return record, payload

    def _decode_sent(self, event: bytes) -> Any:
        """Return the record of what a caller sent, with times written as the stream declares."""
        if counts_micros(self.stream.time_format):
            try:
                record = self._one.decode(event)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._explain(event, self.stream.time_format)
            if self._counts_micros(record):
                return record
        return self._explain(event, self.stream.time_format)

    def _counts_micros(self, record: Any) -> bool:
        """Return whether numbers given as times are certainly µs: declared, or none of them in January 1970."""
        if self.stream.time_format == _TOPIC:
            return True
        return not any(in_january_1970(get(record)) for get in self._moments)

    def _set_id(self, record: Any, *, again: bool = True) -> Any:
        """Set the record's id to that of its content, if the stream says so; `again`: replace an existing id, too."""
        if self._content is not None and (again or not getattr(record, self.stream.id)):
            setattr(record, self.stream.id, content_id(record, self._content))
        return record

    def columns(self, payloads: Sequence[bytes]) -> tuple[EventColumns, list[int], list[tuple[int, InvalidEvent]]]:
        """Decode what a topic holds.

        Returns
        -------
        events
            The valid events, in order.
        valid
            Their indices in `payloads`.
        invalid
            The index of each other event, with the reason.
        """
        try:
            # Decode each by itself: a joined array decodes no faster, and two halves could make a whole.
            decode = self._one.decode
            if max(map(len, payloads), default=0) <= self.stream.max_bytes:
                decoded = [self._set_id(decode(payload), again=False) for payload in payloads]
                return self._to_columns(decoded), list(range(len(payloads))), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        invalid: list[tuple[int, InvalidEvent]] = []
        records, valid = [], []
        for index, payload in enumerate(payloads):
            try:
                records.append(self._decode_checked(payload))
                valid.append(index)
            except InvalidEvent as error:
                invalid.append((index, error))
        return self._to_columns(records), valid, invalid

    def request(self, event: bytes, names: frozenset[str]) -> EventColumns:
        """Decode one event of a scoring request: only these fields must be there, others may be null or NaN.

        Raises
        ------
        InvalidEvent
            A needed field is absent or of the wrong type.
        """
        self._check_size(event)
        document = _object(event)
        present = {name for name, value in document.items() if value is not None and value == value}
        selected = [field for field in self.stream.given if field.name in names or field.name in present]
        values = _read_all(selected, document, self.stream.time_format)
        fields = {
            field.name: column_of(field, [values[field.name]]) for field in self.stream.fields if field.name in values
        }
        time = values.get(self.stream.time)
        return EventColumns(
            np.array([time if time is not None else 0], np.int64), [str(values.get(self.stream.id, ""))], fields
        )

    def _to_columns(self, records: Sequence[Any]) -> EventColumns:
        fields = {field.name: column_of(field, [get(record) for record in records]) for field, get in self._names}
        ids = attrgetter(self.stream.id)
        time = attrgetter(self.stream.time)
        return EventColumns(
            np.fromiter((time(record) for record in records), np.int64, len(records)),
            [str(ids(record)) for record in records],
            fields,
        )

    def _decode_checked(self, payload: bytes) -> Any:
        self._check_size(payload)
        try:
            return self._set_id(self._one.decode(payload), again=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._set_id(self._explain(payload, _TOPIC))

    def _check_size(self, event: bytes) -> None:
        if len(event) > self.stream.max_bytes:
            raise InvalidEvent("", f"{len(event)} bytes long", f"at most {self.stream.max_bytes} bytes")

    def _explain(self, event: bytes, form: str | None) -> Any:
        """Read an event field by field: it is valid in a laxer form, or this raises all that is wrong."""
        return self._record(**_read_all(self.stream.given, _object(event), form, identity=self.stream.id))


def _struct_field(stream: StreamDefinition, field: Field) -> Any:
    kind: Any = PYTHON[field.type]
    if field.name == stream.id and field.type is FieldType.STRING and field in stream.given:
        kind = Annotated[str, msgspec.Meta(min_length=1)]
    if field.optional:
        return (field.name, kind | None, None)
    return (field.name, kind) if field in stream.given else (field.name, kind, "")


def _read_all(
    fields: Sequence[Field], document: Mapping[str, Any], form: str | None, *, identity: str = ""
) -> dict[str, Any]:
    """Read fields of a document; `identity` names the one that must not be empty."""
    values: dict[str, Any] = {}
    errors: list[InvalidEvent] = []
    for field in fields:
        try:
            values[field.name] = read_value(field, document.get(field.name, msgspec.UNSET), form)
            if field.name == identity and values[field.name] == "":
                raise empty_id(identity)
        except InvalidEvent as error:
            errors.append(error)
    if errors:
        raise all_of(errors)
    return values


def empty_id(field: str) -> InvalidEvent:
    """Return the error of an event with an empty id: all such events would count as one."""
    return InvalidEvent(field, '""', 'an id that is not empty; for events without ids, declare id="content"')


def _object(event: bytes) -> Mapping[str, Any]:
    try:
        # Decode it first: json would also guess other encodings from bytes.
        document = json.loads(event.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("", f"not decodable ({cut(str(error))})", "a JSON object in UTF-8") from None
    if not isinstance(document, dict):
        raise InvalidEvent("", as_json(document), "a JSON object")
    return document


def read_value(field: Field, value: Any, form: str | None = None) -> Any:
    """Read a field's value from a parsed one; `msgspec.UNSET` if it is absent.

    Parameters
    ----------
    form
        How times are written, see `headrace.engine.events.timestamps`.

    Raises
    ------
    InvalidEvent
        It is not a value of the field's type.
    """
    if value is msgspec.UNSET or value is None:
        if field.optional:
            return None
        raise InvalidEvent(field.name, "missing" if value is msgspec.UNSET else "null", _EXPECTED[field.type])
    if field.type is FieldType.FLOAT and isinstance(value, float) and math.isnan(value) and field.optional:
        return None
    if field.type is FieldType.TIME:
        return read_time(field, value, form)
    result = _READ[field.type](value)
    if result is None:
        expected = _EXPECTED[field.type] + (", or null" if field.optional else "")
        raise InvalidEvent(field.name, as_json(value), expected)
    return result


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer() and -_MAX_EXACT <= value <= _MAX_EXACT:
        return int(value)  # 5.0, as pandas writes integers beside a missing value
    ok = isinstance(value, int) and not isinstance(value, bool) and _MIN_INT <= value <= _MAX_INT
    return value if ok else None


def _bool(value: Any) -> bool | None:
    if isinstance(value, str):
        return _BOOLS.get(value.lower())  # Python writes "True"
    return value if isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    # JSON can escape half of a surrogate pair, which no text can contain.
    return value if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value) else None


_READ = {
    FieldType.FLOAT: _float,
    FieldType.INT: _int,
    FieldType.BOOL: _bool,
    FieldType.STRING: _string,
}


def column_of(field: Field, values: list[Any]) -> ColumnArray:
    """Convert a field's values to the form of the kernel."""
    if field.type is FieldType.STRING or (field.type is FieldType.INT and not all(map(_is_exact, values))):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    # numpy converts None to NaN.
    return to_floats(values) if field.type is FieldType.TIME else np.array(values, dtype=np.float64)


def _is_exact(value: int | None) -> bool:
    """Return whether a float64 distinguishes an integer from its neighbours: keys and ids must not collide."""
    return value is None or -_MAX_EXACT <= value <= _MAX_EXACT
