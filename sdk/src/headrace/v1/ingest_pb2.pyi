from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PublishRequest(_message.Message):
    __slots__ = ("stream", "event")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    stream: str
    event: bytes
    def __init__(self, stream: _Optional[str] = ..., event: _Optional[bytes] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishStreamRequest(_message.Message):
    __slots__ = ("stream", "events", "mark", "end", "decide", "sender", "confirm", "withdraw")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    DECIDE_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_FIELD_NUMBER: _ClassVar[int]
    stream: str
    events: _containers.RepeatedScalarFieldContainer[bytes]
    mark: int
    end: bool
    decide: bool
    sender: str
    confirm: bool
    withdraw: bool
    def __init__(self, stream: _Optional[str] = ..., events: _Optional[_Iterable[bytes]] = ..., mark: _Optional[int] = ..., end: _Optional[bool] = ..., decide: _Optional[bool] = ..., sender: _Optional[str] = ..., confirm: _Optional[bool] = ..., withdraw: _Optional[bool] = ...) -> None: ...

class PublishStreamResponse(_message.Message):
    __slots__ = ("accepted", "rejected", "rejections", "repeats", "late", "undecided")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    REPEATS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    rejected: int
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    repeats: int
    late: int
    undecided: int
    def __init__(self, accepted: _Optional[int] = ..., rejected: _Optional[int] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., repeats: _Optional[int] = ..., late: _Optional[int] = ..., undecided: _Optional[int] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("stream", "index", "field", "value", "expected")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    stream: str
    index: int
    field: str
    value: str
    expected: str
    def __init__(self, stream: _Optional[str] = ..., index: _Optional[int] = ..., field: _Optional[str] = ..., value: _Optional[str] = ..., expected: _Optional[str] = ...) -> None: ...
