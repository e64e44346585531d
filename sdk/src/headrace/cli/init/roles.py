"""The roles of a table's columns, guessed from their names and values: each choice is a guess."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.cli.init.facts import Column, Table
from headrace.definition import FieldType
from headrace.engine.arrays import Floats
from headrace.errors import InvalidRequest

_BEGINS = re.compile(r"pick_?up|start|begin|creat|open|order|request|depart|sched", re.IGNORECASE)
_ENDS = re.compile(r"drop_?off|end|finish|clos|deliver|arriv|resolv|settl|complet|return|updat|label", re.IGNORECASE)
_ID = re.compile(r"(^|_)(id|uuid|guid|key|number|no|nr)$|Id$", re.IGNORECASE)
_ENTITY = re.compile(
    r"user|customer|client|card|account|device|sensor|machine|station|store|shop|merchant|vendor|driver|vehicle|tail"
    r"|carrier|symbol|ticker|patient|player|team|site|city|region|zone|origin|product|item|_id$",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(label|target|class_?|y|outcome|result|response)$|^is_|fraud|churn|default|late|delay|survived|occupan|click"
    r"|convert|return|fail|fault|weather$|fare|tip|price|amount|total|duration|demand|sales|count|(^|_)cnt$",
    re.IGNORECASE,
)
#: Words that say nothing about the content of a column.
_USUAL = {"time", "date", "the", "price", "temp", "day", "return"}
#: Average number of rows per entity that are needed to aggregate them.
_ROWS_OF_ENTITY = 5
#: Most categories that become features, and most classes of a label.
CATEGORIES = 30
#: Rows that show whether columns add up to the label, and how far their sum may be off: cents are rounded.
_SUMMED, _ROUNDING = 1_000, 1e-6
#: Share of rows that may lack a time: a column with more gaps is the row's time only if all have more.
_GAPS = 0.05
#: Share of rows in which the other time must follow.
_FOLLOWS = 0.95


@dataclass
class Roles:
    """The roles of a table's columns.

    Attributes
    ----------
    id, entity, known_at
        None if no column has this role.
    wait
        How much later than its row a label is known, at most (µs); 0 if no column says when.
    lateness
        How far a row is behind the newest row before it, at most (µs).
    later
        Columns that may be known only with the label: their names share a word with the label's name or its time's
        name, they are missing only where the label is, or they add up to it.
    """

    time: Column
    id: Column | None
    entity: Column | None
    label: Column
    known_at: Column | None
    wait: int
    lateness: int
    later: list[Column]


def roles_of(table: Table, *, time: str | None = None, label: str | None = None) -> Roles:
    """Choose the roles of a table's columns.

    Parameters
    ----------
    time, label
        The columns that the user has named.

    Raises
    ------
    InvalidRequest
        The table has no time, or nothing to predict.
    """
    moment = _find(table, time) if time else _time(table)
    if moment is None or moment.kind is not FieldType.TIME:
        raise _no_time(table, moment)
    id = next((column for column in table.columns if _is_id(column)), None)
    outcome = _find(table, label) if label else _label(table, moment, id)
    if outcome is None:
        raise InvalidRequest(str(table.path), "a table with nothing to predict", "a column beside its time and id")
    known_at, wait = _known_at(table, moment, outcome)
    taken = [column for column in (moment, id, outcome, known_at) if column]
    others = [column for column in table.columns if column not in taken]
    parts = _parts(table, others, outcome)
    later = [column for column in others if column in parts or _is_later(table, column, outcome, known_at)]
    entity = _entity(table, [*taken, *later])
    return Roles(moment, id, entity, outcome, known_at, wait, table.disorder(moment), later)


def _find(table: Table, name: str) -> Column:
    """Return the column that the user has named as in the header, or as its field."""
    for column in table.columns:
        if name in (column.name, table.names[column.place]):
            return column
    names = ", ".join(column.name for column in table.columns)
    raise InvalidRequest("column", repr(name), f"one of {names}")


def _no_time(table: Table, column: Column | None) -> InvalidRequest:
    column = column or next((column for column in table.columns if column.resembles_time), None)
    if column is not None:
        problem = f"no time ({column.odd or repr(column.example)})"
        cure = "ISO 8601, or seconds since 1970"
        if column.resembles_time:
            cure += ". If pandas reads its dates, write timed.csv, without the rows that have none:\n"
            cure += _convert_times(table, column)
        return InvalidRequest(f"column {column.name!r}", problem, cure)
    problem = "a table without a column of times, which every event needs"
    cure = "one. Where the rows are in order, give them times a minute apart, and take timed.csv:"
    return InvalidRequest(str(table.path), problem, f"{cure}\n{_add_times(table.path)}")


def _convert_times(table: Table, column: Column) -> str:
    name = _literal(table.names[column.place])
    return _pandas_command(
        f"t = pd.read_csv({_literal(str(table.path))}, dtype=str, keep_default_na=False)",
        f't[{name}] = pd.to_datetime(t[{name}], format="mixed", errors="coerce")',
        f't.dropna(subset=[{name}]).to_csv("timed.csv", index=False)',
    )


def _add_times(path: Path) -> str:
    return _pandas_command(
        f"t = pd.read_csv({_literal(str(path))})",
        't.insert(0, "at", pd.date_range("2026-01-01", periods=len(t), freq="min"))',
        't.to_csv("timed.csv", index=False)',
    )


def _pandas_command(*statements: str) -> str:
    return f"  python -c {shlex.quote('; '.join(['import pandas as pd', *statements]))}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _time(table: Table) -> Column | None:
    """Return the time at which an event begins: few rows lack it, and the row's other times follow."""
    return min(
        (column for column in table.columns if column.kind is FieldType.TIME),
        key=lambda column: (
            column.missing > _GAPS * column.rows,
            bool(_ENDS.search(column.name)),
            not _BEGINS.search(column.name),
            column.low,
        ),
        default=None,
    )


def _is_id(column: Column) -> bool:
    unique = column.kind in (FieldType.STRING, FieldType.INT) and column.unique and not column.missing
    return unique and (bool(_ID.search(column.name)) or (column.place == 0 and column.kind is FieldType.STRING))


def _label(table: Table, time: Column, id: Column | None) -> Column | None:
    """Return the column to predict: one with a name like a label, otherwise the last one."""
    usable = [column for column in table.columns if column not in (time, id) and _may_be_label(column)]
    matches = [column for column in usable if _LABEL.search(column.name)]
    return max(matches or usable, key=lambda column: (_is_outcome(column), column.place), default=None)


def _is_outcome(column: Column) -> bool:
    return bool(re.match(r"(label|target|class_?|y|outcome)$|is_|arr", column.name)) or column.kind is FieldType.BOOL


def _may_be_label(column: Column) -> bool:
    if column.kind is FieldType.TIME or column.rows == column.missing or column.distinct < 2:
        return False
    return column.kind is not FieldType.STRING or column.distinct <= CATEGORIES


def _known_at(table: Table, time: Column, label: Column) -> tuple[Column | None, int]:
    """Return the column that says when the label is known, and how much later that is, at most."""
    for column in table.columns:
        if column is time or column is label or column.kind is not FieldType.TIME:
            continue
        pairs = [(time.time(cells), column.time(cells)) for cells in table.sample]
        gaps = [after - before for before, after in pairs if before is not None and after is not None]
        follows = sum(gap >= 0 for gap in gaps)
        if gaps and follows >= _FOLLOWS * len(gaps) and max(gaps) > 0:
            return column, max(gaps)
    return None, 0


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").lower())) - _USUAL


def _is_later(table: Table, column: Column, label: Column, known_at: Column | None) -> bool:
    words = _words(label.name) | (_words(known_at.name) if known_at else set())
    if _words(column.name) & words:
        return True
    absent = [cells for cells in table.sample if table.is_missing(column, cells)]
    return 0 < len(absent) < len(table.sample) and all(table.is_missing(label, cells) for cells in absent)


def _parts(table: Table, columns: Sequence[Column], label: Column) -> list[Column]:
    """Return the columns that add up to the label, each times a factor: casual and registered to all rentals."""
    numbers = [column for column in columns if _is_number(column) and column.distinct > 1]
    rows = [cells for cells in table.sample[:_SUMMED] if not table.is_missing(label, cells)]
    if not _is_number(label) or not numbers or len(rows) < 2 * len(numbers):
        return []
    sums = np.array([[_number(table, label, cells)] for cells in rows])
    values = np.array([[_number(table, column, cells) for column in numbers] + [1.0] for cells in rows])
    values, sums = _scaled(values), _scaled(sums)
    factors = np.linalg.lstsq(values, sums, rcond=None)[0]
    if np.abs(values @ factors - sums).max() > _ROUNDING:
        return []
    return [column for column, factor in zip(numbers, factors[:, 0], strict=False) if abs(factor) > _ROUNDING]


def _scaled(values: Floats) -> Floats:
    """Return columns, each divided by its largest size."""
    largest = np.abs(values).max(axis=0)
    return values / np.where(largest > 0.0, largest, 1.0)


def _is_number(column: Column) -> bool:
    return column.kind in (FieldType.INT, FieldType.FLOAT)


def _number(table: Table, column: Column, cells: Sequence[str]) -> float:
    """Return a cell's number; 0 if it has none, as in a sum."""
    return 0.0 if table.is_missing(column, cells) else float(cells[column.place])


def _entity(table: Table, taken: Sequence[Column]) -> Column | None:
    """Return the column of what many rows are about: a card, a station."""
    usable = [
        column
        for column in table.columns
        if column not in taken
        and column.kind in (FieldType.STRING, FieldType.INT)
        and not column.missing
        and column.distinct >= 2
        and column.rows >= _ROWS_OF_ENTITY * column.distinct
        and (column.kind is FieldType.STRING or _ENTITY.search(column.name))
    ]
    return max(usable, key=lambda column: (bool(_ENTITY.search(column.name)), column.distinct), default=None)
