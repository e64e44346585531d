"""Files beside a loop file that hide a package of the same name: Python finds them first."""

from __future__ import annotations

import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType


def hiding_file(error: BaseException, loop_file: Path) -> Path | None:
    """Return the file that an import found in place of a package: one beside the loop file, or itself; None if none.

    Parameters
    ----------
    error
        What the import, or the first use of what it found, raised.
    """
    if not isinstance(error, (ImportError, AttributeError)):
        return None
    folder = loop_file.parent
    name = loop_file.stem if _is_imported(loop_file, error) else _package_of(error)
    file = next((path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.is_file()), None)
    return file if file is not None and hides_package(name, folder) else None


def _is_imported(loop_file: Path, error: BaseException) -> bool:
    """Return whether the loop file was imported by its own name: `numpy.py`, by what needs NumPy."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(
        frame.f_code.co_filename == str(loop_file) and frame.f_globals.get("__name__") == loop_file.stem
        for frame in frames
    )


def _package_of(error: ImportError | AttributeError) -> str:
    """Return the top-level package that an error is about; empty if it is about none."""
    name: str | None = None
    if isinstance(error, ImportError):
        name = error.name
    elif isinstance(error.obj, ModuleType):
        name = error.obj.__name__
    return (name or "").partition(".")[0]


def hides_package(name: str, folder: Path) -> bool:
    """Return whether a file of this name in a folder hides a package that is found elsewhere."""
    if name in sys.stdlib_module_names:
        return True
    others = [entry for entry in sys.path if Path(entry).resolve() != folder.resolve()]
    return PathFinder.find_spec(name, others) is not None
