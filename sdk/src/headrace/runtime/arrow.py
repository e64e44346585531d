"""Arrow in a service: it does without pandas."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa


def convert_without_pandas() -> None:
    """Let Arrow convert without pandas, whose import takes half a second of a core and 40 MB of each process.

    Arrow's first conversion imports pandas, if it is installed, to recognise its missing values among other objects. If
    pandas is imported already, Arrow finds it. No service has such values but the learner, where a user's learner may:
    that one does not call this.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])  # Arrow looks for pandas once
    finally:
        sys.meta_path.remove(finder)


class _NoPandas:
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("Arrow is to convert without pandas", name=name)
        return None
