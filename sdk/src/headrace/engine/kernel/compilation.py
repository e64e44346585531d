"""Compilation of the kernel's inner loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile with numba, strictly IEEE (no fast-math), cached on disk."""
    return numba.njit(cache=True)(function)  # type: ignore[no-any-return]
