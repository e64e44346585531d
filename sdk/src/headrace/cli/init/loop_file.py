"""The text of a loop file for a table: each guess has a question beside it."""

from __future__ import annotations

import json
import keyword
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import pstdev

from headrace.cli.init.facts import Column, Table
from headrace.cli.init.roles import CATEGORIES, Roles
from headrace.compiler.hidden_packages import hides_package
from headrace.declare.durations import format_duration, parse_duration
from headrace.declare.fields import CONTENT, PYTHON
from headrace.definition import FieldType, Task
from headrace.engine.events.timestamps import UNITS

#: Maximum number of distinct integers that count as classes: a label with more of them is a quantity.
_CLASSES = 10
_MEANS = 3
_WINDOWS = ("1m", "5m", "15m", "1h", "3h", "12h", "1d", "7d", "30d", "90d", "365d")
_LEARNERS = {
    Task.BINARY: ("linear_model.LogisticRegression", "StandardScaler() | LogisticRegression()"),
    Task.MULTICLASS: ("linear_model.SoftmaxRegression", "StandardScaler() | SoftmaxRegression()"),
    Task.REGRESSION: (
        "linear_model.LinearRegression",
        "StandardScaler() | LinearRegression(optimizer=SGD(0.001), intercept_lr=0.01, clip_gradient=10)",
    ),
}
#: Names that loop files import, as far as a stream's class could have them.
_IMPORTED = frozenset({"Count", "Label", "Mean", "Model", "Stream", "View"})
_NUMBERS = (FieldType.INT, FieldType.FLOAT, FieldType.BOOL)
_QUESTIONS = "Comments with a question mark are beside guesses of `headrace init`."
_MINUTE, _DAY = 60_000_000, 86_400_000_000
#: Characters of a list that fits on one line.
_LINE = 70
#: A file that is further out of order must be sorted: waiting that long for each row costs too much.
SORTED = _DAY


class LoopFile:
    """The loop file of a table."""

    def __init__(self, table: Table, roles: Roles, name: str) -> None:
        self._table = table
        self._roles = roles
        self.stream = _class_name(name)
        self.model = f"{name}_{re.sub(r'[^a-z0-9]+', '_', roles.label.name.lower()).strip('_')}"
        self.task, self._value = self._outcome()
        self._taken = [column for column in (roles.time, roles.id, roles.label, roles.known_at) if column]

    @property
    def text(self) -> str:
        """The whole text of the file."""
        parts = [self._head(), self._stream(), self._label()]
        if self._roles.entity:
            parts.append(self._view(self._roles.entity))
        head, stream, *rest = parts
        return f"{head}\n\n\n{stream}\n\n\n" + "\n\n".join([*rest, self._model()])

    def _head(self) -> str:
        path, _ = _LEARNERS[self.task]
        module, estimator = path.split(".")
        names = ["Label", "Model", "Stream"]
        if self._roles.entity:
            names += ["Count", "View", *(["Mean"] if self._means() else [])]
        if self.task is Task.REGRESSION or "col(" in self._value:
            names += ["col"] if "col(" in self._value else []
        river = [f"from river.{module} import {estimator}"]
        river += ["from river.optim import SGD"] if self.task is Task.REGRESSION else []
        river += ["from river.preprocessing import StandardScaler"]
        rows = f"{self._table.rows:,} rows"
        rows += (
            "" if self._table.complete else f", of which the first {len(self._table.sample):,} were looked at closely"
        )
        title = f'"""{self._table.path.name}: {rows}.\n\n{_QUESTIONS}\n"""'
        upper = sorted((name for name in names if name != "col"), key=str.lower) + [
            name for name in names if name == "col"
        ]
        return "\n".join(
            [title, "", "from datetime import datetime", "", *river, "", f"from headrace import {', '.join(upper)}"]
        )

    def _stream(self) -> str:
        roles = self._roles
        id = roles.id.name if roles.id else CONTENT
        options = {"key": roles.entity.name if roles.entity else id, "time": roles.time.name, "id": id}
        if 0 < roles.lateness <= SORTED:
            options["lateness"] = _round_up(roles.lateness)
        if roles.time.form:
            options["time_format"] = roles.time.form
        text = ", ".join(f"{name}={_quote(value)}" for name, value in options.items())
        if self._table.placeholders:
            text += f", missing=[{', '.join(map(_quote, self._table.placeholders))}]"
        return "\n".join([*self._questions(), f"class {self.stream}(Stream, {text}):", *self._fields()])

    def _questions(self) -> Iterator[str]:
        roles = self._roles
        yield f"# {roles.time.name}: when a row happened? It is the time at which the model is asked."
        if roles.entity:
            yield f"# {roles.entity.name}: what the rows are about? The views below are by it."
        else:
            yield "# No column seems to say what the rows are about (a customer, a machine): which does?"
        if roles.id is None:
            yield "# No column names a row: its content does. Rows that are identical count once."
            if self._table.repeated:
                yield f"# {self._table.repeated:,} of the rows looked at repeat another one: are they the same event?"
        if roles.lateness > SORTED:
            span = _round_up(roles.lateness)
            yield f"# The rows are not in the order of their times, by up to {span}: sort the file first."
        elif roles.lateness:
            yield "# The rows are not in the order of their times: lateness= says by how much, and costs waiting."
        for note in notes_of(self._table, roles):
            yield f"# {note}."

    def _fields(self) -> Iterator[str]:
        for column in self._table.columns:
            if self._roles.id is None and column.name == CONTENT:
                continue
            yield f"    {column.name}: {self._type(column)}"

    def _type(self, column: Column) -> str:
        roles = self._roles
        kind = column.kind
        # A stream can declare only one way to write times.
        if kind is FieldType.TIME and column.form not in (None, roles.time.form):
            kind = FieldType.INT if column.form in ("s", "ms", "us", "ns") else FieldType.STRING
        required = column in (roles.time, roles.id, roles.entity)
        optional = not required and (column.missing or not self._table.complete)
        return PYTHON[kind] + (" | None" if optional else "")

    def _outcome(self) -> tuple[Task, str]:
        """Return the task, and the expression of the value that is predicted."""
        label = self._roles.label
        field = f"{self.stream}.{label.name}"
        values = sorted(label.values, key=lambda value: (label.values[value], value))
        if label.kind is FieldType.BOOL:
            return Task.BINARY, field
        if label.distinct == 2:
            rarer = values[0] if label.kind is FieldType.STRING else max(values, key=float)
            constant = _quote(rarer) if label.kind is FieldType.STRING else f"{float(rarer):g}"
            return Task.BINARY, f"{field} == {constant}"
        if label.kind is FieldType.STRING or (label.kind is FieldType.INT and label.distinct <= _CLASSES):
            return Task.MULTICLASS, field
        return Task.REGRESSION, f"{field} / {self._scale()}.0"

    def _scale(self) -> int:
        """Return the power of ten by which to divide the label, so that its values are near 1."""
        numbers = self._numbers()
        spread = max(pstdev(numbers), abs(sum(numbers) / len(numbers)) / 10, 1.0)
        return int(10 ** round(math.log10(spread)))

    def _numbers(self) -> list[float]:
        """Return the label's numbers in the rows that were looked at."""
        place = self._roles.label.place
        return [number for cells in self._table.sample if (number := _number(cells[place])) is not None]

    def _label(self) -> str:
        roles = self._roles
        lines = [f"# {roles.label.name}: what is to be predicted?"]
        if self.task is Task.REGRESSION:
            lines += [
                "# A number, divided so that it is near 1, which suits the learner. A condition asks for a probability:"
            ]
            threshold, share = _split(self._numbers())
            condition = f"value={self.stream}.{roles.label.name} > {repr(threshold).removesuffix('.0')}"
            lines += [f"# {condition} is true for {100 * share:.3g} % of the rows looked at."]
        if roles.known_at:
            lines += [f"# Known at {roles.known_at.name}, as the same row says? Until then no model learns it."]
            option, wait = f', known_at="{roles.known_at.name}"', _round_up(2 * roles.wait)
        else:
            lines += [
                '# When is it known? Here: at once. If a column says when: known_at="...", within= its longest delay.'
            ]
            option, wait = "", "1m"
        lines.append(f'outcome = Label({self.stream}, of={self.stream}, value={self._value}, within="{wait}"{option})')
        return "\n".join(lines)

    def _means(self) -> list[str]:
        """Return the names of the columns that the view averages: numbers that are known at the time of their row."""
        numeric = [column for column in self._plain() if column.kind in _NUMBERS and column is not self._roles.entity]
        # Whole numbers with few values are categories: their mean is of little use.
        quantities = [
            column for column in numeric if column.kind is FieldType.FLOAT or column.distinct > CATEGORIES + 1
        ]
        label = self._roles.label
        known_labels = [label] if self._roles.known_at is None and label.kind in _NUMBERS else []
        return [column.name for column in [*known_labels, *quantities][:_MEANS]]

    def _view(self, entity: Column) -> str:
        aggregates = _aggregate_names(self._means())
        means = ", ".join(f'"{name}": Mean("{column}")' for name, column in aggregates.items())
        text = f'{{"count": Count(){f", {means}" if means else ""}}}'
        windows = ", ".join(f'"{window}"' for window in self._windows(entity))
        return "\n".join(
            [
                f"# How it was with the same {entity.name} before. Are these windows of use?",
                "history = View(",
                f"    {self.stream},",
                f'    by="{entity.name}",',
                f"    windows=[{windows}],",
                f"    aggregates={text},",
                ")",
            ]
        )

    def _windows(self, entity: Column) -> list[str]:
        """Return a window of a few rows of an entity, and one of many."""
        time = self._roles.time
        span = max(time.high - time.low, _MINUTE)
        gap = span * entity.distinct / max(entity.rows, 1)
        windows = []
        for rows in (5, 50):
            longer = [window for window in _WINDOWS if gap * rows <= parse_duration(window) <= span]
            windows.append(
                longer[0]
                if longer
                else next((window for window in reversed(_WINDOWS) if parse_duration(window) <= span), "1m")
            )
        return list(dict.fromkeys(windows))

    def _plain(self) -> list[Column]:
        """Return the columns that become features as they are."""
        left_out = [*self._taken, *self._roles.later]
        return [
            column
            for column in self._table.columns
            if column not in left_out and column.distinct > 1 and column.name != CONTENT
        ]

    def _model(self) -> str:
        interval = max(50, min(5_000, self._table.rows // 20))
        lines = [
            "Model(",
            f'    "{self.model}",',
            f"    on={self.stream},",
            "    label=outcome,",
            "    # Is each of these known when the model is asked? What is not would tell the outcome.",
            "    features=[",
            *(f"        {line}" for line in self._features()),
            "    ],",
            f"    learner=lambda: {_LEARNERS[self.task][1]},",
            f"    publish_every={interval},",
            ")",
            "",
        ]
        return "\n".join(lines)

    def _features(self) -> Iterator[str]:
        roles = self._roles
        if roles.entity:
            yield "history,"
        time = f"{self.stream}.{roles.time.name}"
        if any((column.time(cells) or 0) % _DAY for column in [roles.time] for cells in self._table.sample[:1_000]):
            yield f"{time}.hour.one_hot(),"
        yield f"{time}.weekday.one_hot(),"
        for column in self._plain():
            yield self._feature(column)
        for column in roles.later:
            yield f"# {self.stream}.{column.name},  # known only with the outcome?"

    def _feature(self, column: Column) -> str:
        field = f"{self.stream}.{column.name}"
        if column.kind is FieldType.STRING:
            if column.distinct > CATEGORIES:
                return f"# {field} has {column.distinct:,} different texts: views by it, rather than a feature?"
            return f"{field}.one_hot({_list_text(sorted(column.values))}),"
        if column.kind is FieldType.TIME:
            return f"# {field} is a time: {field}.hour, where that is of use?"
        return f"{field},"

    def event(self) -> str:
        """Return the last examined row with a time as an event to ask a score for."""
        time = self._roles.time
        cells = next(cells for cells in reversed(self._table.sample) if not self._table.is_missing(time, cells))
        plain = [column for column in self._plain() if column.kind is not FieldType.TIME and column.distinct]
        columns = [*([self._roles.entity] if self._roles.entity else []), time, *plain]
        values = {column.name: _parse(column, cells[column.place]) for column in dict.fromkeys(columns)}
        return json.dumps({name: value for name, value in values.items() if value is not None}, ensure_ascii=False)


def _parse(column: Column, cell: str) -> object:
    if not cell or cell in column.placeholders:
        return None
    if column.kind is FieldType.BOOL:
        return cell.lower() == "true"
    if column.kind in _NUMBERS or column.form in ("s", "ms", "us", "ns"):
        number = float(cell)
        return int(number) if number.is_integer() else number
    return cell


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _split(numbers: Sequence[float]) -> tuple[float, float]:
    """Return one of the numbers, such that as near to half of them as possible are above it, and the share above it.

    Examples
    --------
    >>> _split([3.0, 1.0, 4.0, 2.0]), _split([0.0, 0.0, 0.0, 5.0]), _split([0.0, 8.0, 9.0, 9.0, 9.0])
    ((2.0, 0.5), (0.0, 0.25), (8.0, 0.6))
    """
    count = len(numbers)
    above = {number: count - place for place, number in enumerate(sorted(numbers), 1)}
    threshold = min(above, key=lambda number: abs(above[number] - count / 2))
    return threshold, above[threshold] / count


def _list_text(texts: Sequence[str]) -> str:
    """Format texts as a list, on lines that are not too long."""
    short = f"[{', '.join(map(_quote, texts))}]"
    if len(short) <= _LINE:
        return short
    return "[\n" + "".join(f"            {_quote(text)},\n" for text in texts) + "        ]"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _round_up(duration: int) -> str:
    """Round a duration up to whole units that are easy to read."""
    for unit in (_DAY, 3_600_000_000, _MINUTE, 1_000_000):
        if duration >= 2 * unit:
            return format_duration(-(-duration // unit) * unit)
    return "2s"


def usual_name(stem: str, folder: Path) -> str:
    """Return a name for the stream and its file in a folder: lower-case letters, digits and _.

    The file hides no package, and the stream's class no name that the loop file imports.
    """
    name = _plain_name(stem)
    taken = _class_name(name) in _IMPORTED or keyword.iskeyword(_class_name(name))
    is_free = name[:1].isalpha() and not taken and not hides_package(name, folder)
    return name if is_free else f"table_{name}".rstrip("_")


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _plain_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _aggregate_names(columns: Sequence[str]) -> dict[str, str]:
    """Name an aggregate of each column; return the columns by these names, of which "count" is taken."""
    columns_by_name: dict[str, str] = {}
    for column in columns:
        plain = _plain_name(column)
        first = plain if plain[:1].isalpha() and plain != "count" else f"mean_{plain}".rstrip("_")
        name, number = first, 2
        while name in columns_by_name:
            name, number = f"{first}_{number}", number + 1
        columns_by_name[name] = column
    return columns_by_name


def sort_command(path: Path, table: Table, roles: Roles) -> str:
    """Return a command that writes a CSV file in the order of its times, with pandas."""
    column = table.names[roles.time.place]
    read = f"pd.read_csv({_quote(str(path))}, dtype=str, keep_default_na=False)"
    key = f"key=lambda times: {_pandas_times(roles.time.form)}"
    sort = f'sort_values({_quote(column)}, kind="stable", {key})'
    write = f"to_csv({_quote(str(path.with_name('sorted.csv')))}, index=False)"
    return f"python -c {shlex.quote(f'import pandas as pd; {read}.{sort}.{write}')}"


def _pandas_times(form: str | None) -> str:
    """Return the text that converts `times` in pandas. Rows without a time come last."""
    if form in UNITS:
        return 'pd.to_numeric(times, errors="coerce")'
    return f'pd.to_datetime(times, format={_quote(form or "ISO8601")}, utc=True, errors="coerce")'


def notes_of(table: Table, roles: Roles) -> list[str]:
    """Say which rows have no time, which columns are left out, and which are texts only because of a few values."""
    time = roles.time
    have = "rows has" if time.missing == 1 else "rows have"
    first = "" if table.complete else "the first "
    without_time = f"{time.missing:,} of {first}{time.rows:,} {have} no {time.name}"
    return [
        *([f"{without_time}: refused, each with its reason, when sent"] if time.missing else []),
        *table.left_out,
        *(f"{column.name} is a text: {column.odd}" for column in table.columns if column.odd),
    ]


def column_lines(table: Table, roles: Roles) -> list[str]:
    """Format one line per column: its name, type, number of missing values, and role."""
    role_texts = {id(roles.time): "the time", id(roles.label): "the label"}
    role_texts |= {id(column): text for column, text in ((roles.id, "the id"), (roles.entity, "the entity")) if column}
    role_texts |= {id(roles.known_at): "when the label is known"} if roles.known_at else {}
    role_texts |= {id(column): "known only with the label?" for column in roles.later}
    width = max(len(column.name) for column in table.columns)
    lines = []
    for column in table.columns:
        missing = f"{column.missing:,} missing" if column.missing else ""
        role = role_texts.get(id(column), "")
        lines.append(f"  {column.name.ljust(width)}  {PYTHON[column.kind]:<9}{missing:<16}{role}".rstrip())
    return lines
