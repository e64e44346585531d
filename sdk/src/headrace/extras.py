"""Loading of parts of headrace whose requirements an extra brings; internal."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
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


def load_name(package: str, modules: Mapping[str, str], name: str, extra: str) -> object:
    """Load a public name of a package when it is first used: the `__getattr__` of the package.

    Parameters
    ----------
    package
        The full name of the package.
    modules
        The module of each name that is loaded so, relative to the package.
    name
        The name that is asked for.
    extra
        The extra that brings the requirements of these modules.

    Raises
    ------
    AttributeError
        The package has no such name.
    MissingExtra
        A requirement of its module is not installed.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(load(f"{package}.{modules[name]}", f"{package}.{name}", extra), name)
    setattr(sys.modules[package], name, value)
    return value
