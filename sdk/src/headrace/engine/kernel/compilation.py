"""Compilation of the kernel's inner loops.

Numba's cache of compiled code does not notice other options here: who changes them must change the compiled files too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile with numba, strictly IEEE (no fast-math), cached on disk."""
    return numba.njit(cache=True)(function)  # type: ignore[no-any-return]


def compiled_without_memory(function: _Function) -> _Function:
    """Compile code that allocates nothing, as `compiled` does; a division by zero gives infinity or NaN.

    Its arrays are the caller's, so it counts no references: the counting takes most of the time of small functions.
    """
    return numba.njit(cache=True, error_model="numpy", _nrt=False)(function)  # type: ignore[no-any-return]
