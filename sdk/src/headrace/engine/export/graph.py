"""A thin, typed builder of ONNX graphs.

It writes the protocol buffers itself: `onnx.helper` checks each element of each list, which, for the thousands of
entries of a tree, costs more than the rest of the conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

OPSET = 21
ML_OPSET = 5
IR_VERSION = 10
"""The intermediate representation that came with opset 21: an older runtime refuses a newer one."""

ML = "ai.onnx.ml"

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

_ELEMENT = {
    np.dtype(np.float64): onnx.TensorProto.DOUBLE,
    np.dtype(np.int64): onnx.TensorProto.INT64,
    np.dtype(np.uint8): onnx.TensorProto.UINT8,
    np.dtype(np.bool_): onnx.TensorProto.BOOL,
}


def strings(values: Sequence[str]) -> onnx.TensorProto:
    """Return a string tensor."""
    return onnx.TensorProto(
        data_type=onnx.TensorProto.STRING, dims=[len(values)], string_data=[value.encode() for value in values]
    )


def tensor(array: Array) -> onnx.TensorProto:
    """Return a numeric tensor."""
    return onnx.TensorProto(
        data_type=_ELEMENT[array.dtype], dims=array.shape, raw_data=np.ascontiguousarray(array).tobytes()
    )


class Graph:
    """A graph under construction; tensors are referred to by name."""

    def __init__(self) -> None:
        self.widths: dict[str, int] = {}
        self._graph = onnx.GraphProto(name="headrace")
        self._names = 0

    def input(self, name: str, element: int, width: int) -> str:
        """Declare an input of `width` columns and any number of rows."""
        self.widths[name] = width
        self._graph.input.append(_value(name, element, ("N", width)))
        return name

    def constant(self, array: Array) -> str:
        """Add a tensor that is part of the model."""
        proto = tensor(array)
        name = proto.name = self._name()
        self._graph.initializer.append(proto)
        return name

    def doubles(self, *values: float) -> str:
        """Add a constant row of doubles; for a single value, a scalar."""
        return self.constant(np.array(values if len(values) > 1 else values[0], dtype=np.float64))

    def integers(self, *values: int) -> str:
        """Add a constant row of integers: axes, columns, shapes."""
        return self.constant(np.array(values, dtype=np.int64))

    def node(self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add a node, and return the name of its first output.

        An attribute is an int, a str, a list of int, or a tensor (as a protocol buffer or an array).
        """
        names = [self._name() for _ in range(outputs)]
        node = onnx.NodeProto(op_type=operator, domain=domain, input=inputs, output=names)
        node.attribute.extend(_attribute(name, value) for name, value in attributes.items())
        self._graph.node.append(node)
        return names[0]

    def column(self, of: str, column: int) -> str:
        """Take one column of a matrix, as a vector of its N rows."""
        return self.node("Gather", of, self.constant(np.array(column, dtype=np.int64)), axis=1)

    def sum(self, of: str, axis: int, *, keep: bool = False) -> str:
        return self.node("ReduceSum", of, self.integers(axis), keepdims=int(keep))

    def repeat(self, row: Doubles) -> str:
        """Repeat a value (a scalar, or a row) for each of the N rows of the input."""
        first = self._graph.input[0].name
        rows = self.node("Shape", first, start=0, end=1)
        if row.ndim:
            rows = self.node("Concat", rows, self.integers(*row.shape), axis=0)
        return self.node("Expand", self.constant(row), rows)

    def rows(self, table: Array, numbers: str) -> str:
        """Take the rows of a table at the given row numbers; the result has the shape [*numbers, *row]."""
        return self.node("Gather", self.constant(table), numbers, axis=0)

    def integer(self, of: str) -> str:
        return self.node("Cast", of, to=int(onnx.TensorProto.INT64))

    def double(self, of: str) -> str:
        return self.node("Cast", of, to=int(onnx.TensorProto.DOUBLE))

    def present(self, of: str, where: str) -> str:
        """Return `of`, with 0 where `where` is missing."""
        return self.node("Where", self.node("IsNaN", where), self.doubles(0.0), of)

    def finish(self, output: str, default: float, name: str, shape: tuple[str | int, ...]) -> bytes:
        """Name the graph's double output, replace NaN in it by `default`, and serialise the model."""
        inputs = [self.node("IsNaN", output), self.doubles(default), output]
        self._graph.node.append(onnx.NodeProto(op_type="Where", input=inputs, output=[name]))
        self._graph.output.append(_value(name, onnx.TensorProto.DOUBLE, shape))
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="headrace", graph=self._graph)
        model.opset_import.add(domain="", version=OPSET)
        model.opset_import.add(domain=ML, version=ML_OPSET)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _name(self) -> str:
        self._names += 1
        return f"t{self._names}"


def _value(name: str, element: int, shape: tuple[str | int, ...]) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = element
    for size in shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dimension.dim_value = size
        else:
            dimension.dim_param = size
    return value


def _attribute(name: str, value: Any) -> onnx.AttributeProto:
    match value:
        case int():
            return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INT, i=value)
        case list():
            return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS, ints=value)
        case np.ndarray():
            return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=tensor(value))
        case onnx.TensorProto():
            return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=value)
        case _:
            raise TypeError(f"attribute {name} is a {type(value).__name__}")
