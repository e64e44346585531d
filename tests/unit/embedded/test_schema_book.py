"""The embedded broker's schemas: a definition that its events do not fit is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import compiler
from headrace.definition import LoopDefinition
from headrace.embedded.schema_book import SchemaBook
from headrace.errors import IncompatibleSchema
from headrace.wire.compiled_loop import encode

_LOOP = """
from datetime import datetime
from headrace import Count, Stream, View

class Paid(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    {field}

paid = View(Paid, by="card", windows=["1h"], aggregates={{"count": Count()}})
"""


def loop(path: Path, field: str) -> LoopDefinition:
    file = path / "payments.py"
    file.write_text(_LOOP.format(field=field))
    return compiler.load(file).definition


def test_a_field_that_kept_events_lack_is_refused_until_it_is_optional(tmp_path: Path) -> None:
    book = SchemaBook(tmp_path)
    book.register(loop(tmp_path, "amount: float"))
    for _ in range(2):  # a refusal leaves no trace
        with pytest.raises(IncompatibleSchema, match=r"field 'amount' is required on its topic.*amount: float"):
            book.register(loop(tmp_path, "country: str"))
    with pytest.raises(IncompatibleSchema, match="field 'country' is new and required"):
        book.register(loop(tmp_path, "amount: float\n    country: str"))
    book.register(loop(tmp_path, "amount: float\n    country: str | None"))


def test_a_field_that_was_optional_once_may_not_come_back_as_another_type(tmp_path: Path) -> None:
    book = SchemaBook(tmp_path)
    book.register(loop(tmp_path, "amount: float | None"))
    with pytest.raises(IncompatibleSchema, match=r"field 'amount' is int \| None, expected float \| None"):
        book.register(loop(tmp_path, "amount: int | None"))


def test_a_loop_from_before_there_was_a_book_is_known_by_its_definition(tmp_path: Path) -> None:
    (tmp_path / "loop.json").write_bytes(encode(loop(tmp_path, "amount: float")))
    with pytest.raises(IncompatibleSchema, match="field 'country' is new and required"):
        SchemaBook(tmp_path).register(loop(tmp_path, "amount: float\n    country: str"))
