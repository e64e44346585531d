"""Tensors of the Open Inference Protocol: FP64 and BYTES, typed or raw."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidRequest
from headrace.inference import grpc_service_pb2 as pb
from headrace.wording import shown

FP64 = "FP64"
BYTES = "BYTES"

_LENGTH = struct.Struct("<I")

#: Values that a request may have, inputs plus outputs: rows × (features + outputs). 16 MiB as FP64.
MOST_VALUES = 2**21

#: How many names, and numbers of a shape, an error lists.
_LISTED = 6


def read_inputs(
    request: pb.ModelInferRequest, expected: dict[str, tuple[str, int]]
) -> tuple[dict[str, npt.NDArray[Any]], bool]:
    """Return the inputs of a request, each of shape [N, width] with one N, and whether they were raw.

    Parameters
    ----------
    expected
        Datatype and width by input name.

    Raises
    ------
    InvalidRequest
        A name, datatype, shape or content does not fit; the error says which, and what was expected.
    """
    names = [tensor.name for tensor in request.inputs[: len(expected) + _LISTED]]
    if sorted(names) != sorted(expected):
        raise InvalidRequest("inputs", _list(names), f"one each of {_list(list(expected))}")
    raw = len(request.raw_input_contents) > 0
    if raw and len(request.raw_input_contents) != len(names):
        count = f"of {len(request.raw_input_contents)} entries"
        raise InvalidRequest("raw_input_contents", count, f"{len(names)}, one an input")
    for tensor in request.inputs:
        _check(tensor, *expected[tensor.name])
    arrays: dict[str, npt.NDArray[Any]] = {}
    for place, tensor in enumerate(request.inputs):
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(f"input {tensor.name!r}", "given twice", "either typed contents or raw_input_contents")
        arrays[tensor.name] = _raw(tensor, request.raw_input_contents[place]) if raw else _typed(tensor)
    if len({len(array) for array in arrays.values()}) > 1:
        raise InvalidRequest("inputs", "of different lengths", "the same first dimension")
    return arrays, raw


def check_outputs(names: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse outputs that do not exist, and any that is requested twice.

    Raises
    ------
    InvalidRequest
        The error says which.
    """
    for name in names[: len(outputs) + 1]:
        if name not in outputs:
            raise InvalidRequest("outputs", repr(shown(name)), f"one of {_list(outputs)}")
    if len(set(names[: len(outputs) + 1])) < len(names):
        raise InvalidRequest("outputs", f"{len(names):,} names, some of them twice", f"each of {_list(outputs)} once")


def write_outputs(
    response: pb.ModelInferResponse, outputs: dict[str, npt.NDArray[Any]], names: Sequence[str], raw: bool
) -> None:
    """Add the wanted outputs to a response: all of them if none is named (see `check_outputs`)."""
    for name in names or outputs:
        array = outputs[name]
        is_text = array.dtype == object
        tensor = response.outputs.add(name=name, datatype=BYTES if is_text else FP64, shape=array.shape)
        flat = array.reshape(-1).tolist()
        if raw and is_text:
            response.raw_output_contents.append(b"".join(_LENGTH.pack(len(data)) + data for data in flat))
        elif raw:
            response.raw_output_contents.append(np.ascontiguousarray(array, "<f8").tobytes())
        elif is_text:
            tensor.contents.bytes_contents.extend(flat)
        else:
            tensor.contents.fp64_contents.extend(flat)


def _check(tensor: pb.ModelInferRequest.InferInputTensor, datatype: str, width: int) -> None:
    place = f"input {tensor.name!r}"
    if tensor.datatype != datatype:
        raise InvalidRequest(f"{place}: datatype", repr(shown(tensor.datatype)), datatype)
    shape = list(tensor.shape[:_LISTED])
    if len(tensor.shape) != 2 or shape[0] < 0 or shape[1] != width:
        raise InvalidRequest(f"{place}: shape", str(shape), f"[N, {width}], one column a feature")
    if shape[0] * max(width, 1) > MOST_VALUES:
        raise InvalidRequest(f"{place}: shape", str(shape), f"at most {MOST_VALUES:,} values: send several requests")


def _raw(tensor: pb.ModelInferRequest.InferInputTensor, data: bytes) -> npt.NDArray[Any]:
    shape, count = tuple(tensor.shape), math.prod(tensor.shape)
    if tensor.datatype == FP64:
        if len(data) != 8 * count:
            raise InvalidRequest(f"input {tensor.name!r}", f"{len(data)} bytes long", f"{8 * count} bytes for {shape}")
        return np.frombuffer(data, "<f8").reshape(shape)
    values, at = list[bytes](), 0
    while at + _LENGTH.size <= len(data) and len(values) <= count:
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        values.append(data[at : at + length])
        at += length
    if at > len(data) or (len(data) - at < _LENGTH.size and at != len(data)):
        raise InvalidRequest(f"input {tensor.name!r}", "cut off", "elements of 4 bytes of length and so many bytes")
    return _texts(tensor, values)


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> npt.NDArray[Any]:
    if tensor.datatype == BYTES:
        _check_count(tensor, len(tensor.contents.bytes_contents))
        return _texts(tensor, list(tensor.contents.bytes_contents))
    values = np.array(tensor.contents.fp64_contents, np.float64)
    _check_count(tensor, len(values))
    return values.reshape(tuple(tensor.shape))


def _texts(tensor: pb.ModelInferRequest.InferInputTensor, values: list[bytes]) -> npt.NDArray[Any]:
    _check_count(tensor, len(values))
    texts = np.empty(len(values), object)
    try:
        texts[:] = [value.decode() for value in values]
    except UnicodeDecodeError:
        raise InvalidRequest(f"input {tensor.name!r}", "not UTF-8", "strings in UTF-8") from None
    return texts.reshape(tuple(tensor.shape))


def _check_count(tensor: pb.ModelInferRequest.InferInputTensor, count: int) -> None:
    expected = math.prod(tensor.shape)
    if count != expected:
        raise InvalidRequest(f"input {tensor.name!r}", f"of {count} elements", f"{expected} for {tuple(tensor.shape)}")


def _list(names: Sequence[str]) -> str:
    text = ", ".join(repr(shown(name)) for name in names[:_LISTED]) or "none"
    return f"{text} …" if len(names) > _LISTED else text
