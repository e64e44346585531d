from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "task", "definition", "examples", "takeover")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TAKEOVER_FIELD_NUMBER: _ClassVar[int]
    name: str
    task: str
    definition: str
    examples: int
    takeover: Takeover
    def __init__(self, name: _Optional[str] = ..., task: _Optional[str] = ..., definition: _Optional[str] = ..., examples: _Optional[int] = ..., takeover: _Optional[_Union[Takeover, _Mapping]] = ...) -> None: ...

class Takeover(_message.Message):
    __slots__ = ("answering", "learned", "needed", "definition")
    ANSWERING_FIELD_NUMBER: _ClassVar[int]
    LEARNED_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    answering: str
    learned: int
    needed: int
    definition: str
    def __init__(self, answering: _Optional[str] = ..., learned: _Optional[int] = ..., needed: _Optional[int] = ..., definition: _Optional[str] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("summary", "learner", "features", "classes", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    summary: ModelSummary
    learner: str
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    classes: _containers.RepeatedScalarFieldContainer[str]
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, summary: _Optional[_Union[ModelSummary, _Mapping]] = ..., learner: _Optional[str] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("model", "definition", "examples", "event_time", "features", "classes", "task", "metrics", "onnx", "sha256", "model_definition", "views", "taken_over", "needed", "view_definitions", "corrects")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ViewsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ONNX_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_DEFINITION_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_OVER_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    VIEW_DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    CORRECTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    definition: str
    examples: int
    event_time: int
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    classes: _containers.RepeatedScalarFieldContainer[str]
    task: str
    metrics: _containers.ScalarMap[str, float]
    onnx: bytes
    sha256: bytes
    model_definition: bytes
    views: _containers.ScalarMap[str, str]
    taken_over: bool
    needed: int
    view_definitions: _containers.RepeatedScalarFieldContainer[bytes]
    corrects: bool
    def __init__(self, model: _Optional[str] = ..., definition: _Optional[str] = ..., examples: _Optional[int] = ..., event_time: _Optional[int] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., classes: _Optional[_Iterable[str]] = ..., task: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., onnx: _Optional[bytes] = ..., sha256: _Optional[bytes] = ..., model_definition: _Optional[bytes] = ..., views: _Optional[_Mapping[str, str]] = ..., taken_over: _Optional[bool] = ..., needed: _Optional[int] = ..., view_definitions: _Optional[_Iterable[bytes]] = ..., corrects: _Optional[bool] = ...) -> None: ...
