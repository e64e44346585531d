"""Compilation of a loop's declarations to its definition, with all their mistakes and leaks, and its description.

`compile`, `explain`, `load` and `LoadedLoop` are public; the modules of this package are internal. The names are loaded
when they are first used; they need the extra `headrace[loop]`.
"""

from typing import TYPE_CHECKING

from headrace.extras import load_name

if TYPE_CHECKING:
    from headrace.compiler.explanation import explain
    from headrace.compiler.loop_definition import compile
    from headrace.compiler.loop_file import LoadedLoop, load

__all__ = [
    "LoadedLoop",
    "compile",
    "explain",
    "load",
]

_MODULES = {
    "LoadedLoop": "loop_file",
    "compile": "loop_definition",
    "explain": "explanation",
    "load": "loop_file",
}


def __getattr__(name: str) -> object:
    return load_name(__name__, _MODULES, name, "loop")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
