"""The addresses of the C library's functions that Python's own arithmetic calls."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from random import Random
from typing import NamedTuple

#: Numbers for which the functions are compared with Python's.
_COMPARED = 5_000

_Unary = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
_Binary = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)


class Addresses(NamedTuple):
    """Addresses of functions in this process."""

    power: int
    exp: int


@cache
def addresses() -> Addresses | None:
    """Return the addresses of `pow` and `exp`; None if the process does not name them."""
    process = ctypes.CDLL(None)
    try:
        power, exp = (ctypes.cast(getattr(process, name), ctypes.c_void_p).value for name in ("pow", "exp"))
    except AttributeError:
        return None
    return Addresses(power, exp) if power and exp else None


@cache
def equals_python(library: Addresses) -> bool:
    """Return whether the functions give the bits of Python's `**` and `math.exp`, for some ten thousand numbers."""
    power, exp, random = _Binary(library.power), _Unary(library.exp), Random(7)
    for _ in range(_COMPARED):
        # Numbers and exponents as the kernel has them: roots, squares, inverses, powers of a decay.
        number, exponent = (
            random.uniform(1.0, 10.0) * 10.0 ** random.uniform(-100, 100),
            random.choice((0.5, 2.0, -1.0)),
        )
        decay, count, odds = random.random(), float(random.randrange(1, 10_000)), random.uniform(-30.0, 30.0)
        if power(number, exponent) != number**exponent or power(decay, count) != decay**count:
            return False
        if exp(odds) != math.exp(odds):
            return False
    return True
