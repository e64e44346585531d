from headrace.v1 import vector_pb2 as _vector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetVectorRequest(_message.Message):
    __slots__ = ("model", "event", "as_of")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    model: str
    event: bytes
    as_of: int
    def __init__(self, model: _Optional[str] = ..., event: _Optional[bytes] = ..., as_of: _Optional[int] = ...) -> None: ...

class GetVectorResponse(_message.Message):
    __slots__ = ("vector", "as_of")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    vector: _containers.RepeatedCompositeFieldContainer[_vector_pb2.Value]
    as_of: int
    def __init__(self, vector: _Optional[_Iterable[_Union[_vector_pb2.Value, _Mapping]]] = ..., as_of: _Optional[int] = ...) -> None: ...
