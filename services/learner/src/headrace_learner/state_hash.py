"""A hash of a model's state, to check whether two models are equal to the last bit."""

from __future__ import annotations

import hashlib
import struct
from random import Random
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np


def state_hash(model: Any) -> str:
    """Return the SHA-256 of a model's entire state.

    Unlike a pickle's bytes, it does not depend on which equal objects are the same object: loading a checkpoint
    changes that. The order of dictionaries counts: sums over them depend on it.
    """
    return _digest(model, {}, {}, []).hex()


def _digest(value: Any, digests: dict[int, bytes], path: dict[int, int], alive: list[Any]) -> bytes:
    atom = _atom(value)
    if atom is not None:
        return hashlib.sha256(atom).digest()
    key = id(value)
    if key in digests:
        return digests[key]
    if key in path:  # a cycle: hash how many levels up it leads
        return hashlib.sha256(b"up%d" % (len(path) - path[key])).digest()
    path[key] = len(path)
    name, parts = _parts(value)
    digest = hashlib.sha256(name.encode())
    for part in parts:
        digest.update(_digest(part, digests, path, alive))
    del path[key]
    alive.append(value)  # otherwise the id of a temporary could be reused
    digests[key] = digest.digest()
    return digests[key]


def _atom(value: Any) -> bytes | None:
    match value:
        case None | bool():
            return repr(value).encode()
        case int():
            return b"i%d" % value
        case float():
            return b"f" + struct.pack(">d", value)
        case str():
            return b"s" + value.encode()
        case bytes():
            return b"b" + value
        case np.ndarray() if value.dtype != np.dtype(object):
            return f"a{value.dtype.str}{value.shape}".encode() + value.tobytes()
        case type() if issubclass(value, set):
            return b"nbuiltins.set"
        case type() | FunctionType() | BuiltinFunctionType() | ModuleType():
            return f"n{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}".encode()
    return None


def _parts(value: Any) -> tuple[str, list[Any]]:
    if isinstance(value, set | frozenset):
        # This includes sets with a fixed reading order: see `headrace.engine.learning.ordered_sets`.
        return "builtins.set", sorted(set(value), key=repr)
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if type(value) in (list, tuple):
        return name, list(value)
    if type(value) is dict:
        return name, [part for item in value.items() for part in item]
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return name, [reduced]
    # (callable, arguments, state, items of a list, items of a dict)
    return name, [_state(name, list(part) if hasattr(part, "__next__") else part) for part in reduced]


def _state(name: str, part: Any) -> Any:
    # River's distributions carry a generator for drawing samples, seeded by the operating system; learners never draw.
    if name.startswith("river.proba.") and isinstance(part, dict):
        return {key: value for key, value in part.items() if not isinstance(value, Random)}
    return part
