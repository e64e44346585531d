"""Expressions: their names, and what they compile to."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest

from headrace import Stream, View, col
from headrace.compiler.mistakes import Mistakes
from headrace.compiler.scope import Scope
from headrace.declare.expressions import Expression, Selection
from headrace.declare.operations import OPERATIONS
from headrace.definition import Apply, Column, FieldType, Literal
from headrace.engine.kernel import expressions as kernel
from headrace.errors import DefinitionError


class Event(Stream, key="name", time="at", id="name"):
    name: str
    at: datetime
    x: float
    n: int
    b: bool
    y: float | None


def typed(expression: Expression) -> tuple[object, FieldType]:
    mistakes = Mistakes()
    resolved = Scope(Event, "test", mistakes).resolve(expression)
    mistakes.raise_if_any()
    assert resolved is not None
    return resolved.value, resolved.type


def kind(expression: Expression) -> FieldType:
    return typed(expression)[1]


def test_the_kernel_computes_exactly_the_operations_that_can_be_declared() -> None:
    assert set(OPERATIONS) == set(kernel.OPERATIONS)


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        (col("x"), "x"),
        (col(Event.x), "x"),
        (-col("x"), "-x"),
        (col("x") + 1, "x + 1"),
        (1 - col("x"), "1 - x"),
        (2.5 / (col("x") * 2), "2.5 / (x * 2)"),
        ((col("x") + 1).signed_log(), "(x + 1).signed_log"),
        ((col("x") > 1) & ~(col("name") == "a"), "(x > 1) & ~(name == 'a')"),
        ((col("x") > 1) | col("b"), "(x > 1) | b"),
        (True & col("b"), "True & b"),
        (col("at").hour, "at.hour"),
        (col("x").clip(0, 1.5).fill(0), "x.clip(0,1.5).fill(0)"),
        (col("x").named("own"), "own"),
        (col("x").named("own") + 1, "own + 1"),
        (col("n").is_in([1, 2]), "n.is_in(1,2)"),
        (col("name").is_in(["a"]), "name.is_in('a')"),
        ((col("x") == 1) + (col("x") == 2), "(x == 1) + (x == 2)"),
    ],
)
def test_a_feature_is_called_as_its_expression_reads(expression: Expression, name: str) -> None:
    assert expression.name == name


def test_expressions_become_those_of_the_definition() -> None:
    x, y = Column("x"), Column("y")
    assert typed((col("x") - 15) / col("y")) == (
        Apply("div", (Apply("sub", (x, Literal(15.0))), y)),
        FieldType.FLOAT,
    )
    assert typed(15 < col("x")) == (Apply("gt", (x, Literal(15.0))), FieldType.BOOL)  # noqa: SIM300
    assert typed(3 - col("x")) == (Apply("sub", (Literal(3.0), x)), FieldType.FLOAT)
    assert typed(col("y").clip(-1, 1)) == (Apply("clip", (y,), (-1.0, 1.0)), FieldType.FLOAT)
    assert typed(col("y").fill(col("x"))) == (Apply("fill", (y, x)), FieldType.FLOAT)
    assert typed(col("x").named("own")) == (x, FieldType.FLOAT)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (col("n") + 1, FieldType.INT),
        (col("n") + 1.5, FieldType.FLOAT),
        (col("n") + col("b"), FieldType.INT),
        (col("n") / 2, FieldType.FLOAT),
        (col("n").clip(0, 9), FieldType.INT),
        (col("n").clip(0, 9.5), FieldType.FLOAT),
        (-col("b"), FieldType.INT),
        (col("b").fill(False), FieldType.BOOL),
        (col("b").fill(2), FieldType.INT),
        (col("n").abs(), FieldType.INT),
        (col("n").log1p(), FieldType.FLOAT),
        (col("x").bins([1, 2]), FieldType.INT),
        (col("at").weekday, FieldType.INT),
        (col("at").is_missing(), FieldType.BOOL),
        (col("name") != "a", FieldType.BOOL),
        (col("name"), FieldType.STRING),
        (col("b") & (col("n") >= 3), FieldType.BOOL),
    ],
)
def test_types(expression: Expression, expected: FieldType) -> None:
    assert kind(expression) is expected


def names(selection: Selection) -> list[str]:
    return [expression.name for expression in selection.expressions]


def test_one_hot_is_a_feature_for_each_category() -> None:
    assert names(Event.name.one_hot(["a", "b"])) == ["name=a", "name=b"]  # type: ignore[attr-defined]
    assert names(col("at").hour.one_hot()) == [f"at.hour={hour}" for hour in range(24)]
    assert names(col("at").weekday.one_hot()) == [f"at.weekday={day}" for day in range(7)]
    assert names(col("x").bins([0, 1.5]).one_hot()) == [f"x.bins(0,1.5)={index}" for index in range(3)]
    assert names(col("name").one_hot(["a"]) * 2) == ["(name=a) * 2"]


def test_one_hot_of_a_missing_or_unseen_category_is_all_zeros() -> None:
    encoded = [typed(expression)[0] for expression in col("name").one_hot(["a", "b"]).expressions]
    program = kernel.Program(encoded, [Column("name")])  # type: ignore[arg-type]
    column = np.array(["a", "b", "c", None], dtype=object)
    values = program.run(program.matrix({"name": column}, ["name"], 4))
    assert values.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_what_is_missing_stays_missing_but_for_fill_and_is_missing() -> None:
    y = col("y")
    encoded = [typed(expression)[0] for expression in (y + 1, y > 1, y.bins([1]), y.fill(7), y.is_missing())]
    program = kernel.Program(encoded, [Column("y")])  # type: ignore[arg-type]
    values = program.run(np.array([[math.nan]]))[0]
    assert [math.isnan(value) for value in values[:3]] == [True] * 3
    assert values[3:].tolist() == [7.0, 1.0]


def test_a_condition_cannot_be_asked_in_python() -> None:
    with pytest.raises(DefinitionError, match=r"x > 1: it has no truth value .* Write & \| ~ for and"):
        assert col("x") > 1


def test_the_stream_says_which_fields_it_has() -> None:
    assert repr(Event.x) == "<expression x>"
    with pytest.raises(AttributeError):
        Event._x  # type: ignore[attr-defined]  # noqa: B018


def test_a_value_beside_several_is_put_beside_each() -> None:
    view = View(Event, by="name", windows="1h", aggregates={}, name="view")
    both = col("x").one_hot([1, 2])
    assert names(col("n") - both) == ["n - (x=1)", "n - (x=2)"]
    assert view.all.expressions == ()
