"""Loading of parts of headrace whose requirements an extra brings; internal."""

from __future__ import annotations

import importlib
from types import ModuleType

from headrace.errors import MissingExtra


def load(module: str, what: str, extra: str) -> ModuleType:
    """Import a module of headrace.

    Parameters
    ----------
    what
        The name that the caller wants, for the error.
    extra
        The extra that brings the requirements of the module.

    Raises
    ------
    MissingExtra
        A requirement of the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] == "headrace":
            raise  # a fault of headrace itself
        raise MissingExtra(what, missing, extra) from error
