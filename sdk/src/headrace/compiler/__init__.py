"""Compilation of a loop's declarations to its definition, with all their mistakes and leaks, and its description.

`compile`, `explain`, `load` and `LoadedLoop` are public; the modules of this package are internal.
"""

from headrace.compiler.explanation import explain
from headrace.compiler.loop_definition import compile
from headrace.compiler.loop_file import LoadedLoop, load

__all__ = ["LoadedLoop", "compile", "explain", "load"]
