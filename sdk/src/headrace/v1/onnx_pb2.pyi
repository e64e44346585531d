from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnnxModel(_message.Message):
    __slots__ = ("graph", "functions")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    graph: OnnxGraph
    functions: _containers.RepeatedCompositeFieldContainer[OnnxFunction]
    def __init__(self, graph: _Optional[_Union[OnnxGraph, _Mapping]] = ..., functions: _Optional[_Iterable[_Union[OnnxFunction, _Mapping]]] = ...) -> None: ...

class OnnxGraph(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: _containers.RepeatedCompositeFieldContainer[OnnxNode]
    def __init__(self, node: _Optional[_Iterable[_Union[OnnxNode, _Mapping]]] = ...) -> None: ...

class OnnxNode(_message.Message):
    __slots__ = ("op_type", "attribute", "domain")
    OP_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    op_type: str
    attribute: _containers.RepeatedCompositeFieldContainer[OnnxAttribute]
    domain: str
    def __init__(self, op_type: _Optional[str] = ..., attribute: _Optional[_Iterable[_Union[OnnxAttribute, _Mapping]]] = ..., domain: _Optional[str] = ...) -> None: ...

class OnnxAttribute(_message.Message):
    __slots__ = ("name", "g", "graphs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    G_FIELD_NUMBER: _ClassVar[int]
    GRAPHS_FIELD_NUMBER: _ClassVar[int]
    name: str
    g: OnnxSubgraph
    graphs: _containers.RepeatedCompositeFieldContainer[OnnxSubgraph]
    def __init__(self, name: _Optional[str] = ..., g: _Optional[_Union[OnnxSubgraph, _Mapping]] = ..., graphs: _Optional[_Iterable[_Union[OnnxSubgraph, _Mapping]]] = ...) -> None: ...

class OnnxSubgraph(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OnnxFunction(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
