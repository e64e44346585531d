"""The addresses of the C library's functions that Python's own arithmetic calls."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import NamedTuple


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
