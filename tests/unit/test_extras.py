"""The public names load when they are used, and say which extra brings what they miss."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headrace
from headrace import client, declare
from headrace.errors import HeadraceError
from headrace.extras import load


def run(code: str) -> str:
    """Run a program in a fresh process; return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_every_public_name_is_there() -> None:
    for module in (headrace, client):
        assert set(module.__all__) <= set(dir(module))
        for name in module.__all__:
            assert getattr(module, name) is not None
    assert headrace.Stream is declare.Stream


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    for module in (headrace, client):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'Streem'"):
            module.Streem  # noqa: B018


def test_the_package_loads_nothing_but_its_errors() -> None:
    loaded = run("import sys, headrace; print(*sorted(name for name in sys.modules if name.startswith('headrace')))")
    assert loaded.split() == ["headrace", "headrace.errors", "headrace.extras", "headrace.wording"]


def test_a_missing_requirement_names_its_extra() -> None:
    code = """
import sys
sys.modules["msgspec"] = None
try:
    from headrace import Stream
except ImportError as error:
    print(type(error).__name__, error)
"""
    assert run(code) == (
        'MissingExtra headrace.Stream needs the module msgspec, which is not installed: pip install "headrace[loop]"'
    )


def test_a_missing_module_of_headrace_is_a_fault_of_headrace() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'headrace\.nothing'") as raised:
        load("headrace.nothing", "x", "loop")
    assert not isinstance(raised.value, HeadraceError)
