"""Compilation of a view's declaration to its definition, and detection of its mistakes."""

from __future__ import annotations

from collections.abc import Mapping

from headrace import definition
from headrace.compiler.expression_text import expression_text
from headrace.compiler.mistakes import Mistakes, PartMistakes
from headrace.compiler.scope import Scope, Typed
from headrace.declare.aggregates import AGGREGATES, Aggregate, Count
from headrace.declare.declaration import NAMES, is_name
from headrace.declare.durations import EXAMPLES, format_duration, parse_duration
from headrace.declare.expressions import Column, Expression, Literal
from headrace.declare.fields import a_type
from headrace.declare.operations import NUMBER
from headrace.declare.place import Place
from headrace.declare.streams import Stream, field_types, is_stream, stream_name
from headrace.declare.views import Read, View, window_name
from headrace.definition import AggregateDefinition, FieldType, ViewDefinition, Window
from headrace.wording import instead_of

#: How much longer than lateness requires rows hold single ticks, if their view does not say.
KEEP_LONGER = 60_000_000
_SECOND = 1_000_000

#: Types whose values are rarely equal, so that they cannot name an entity.
NAMELESS = (FieldType.FLOAT, FieldType.TIME)

#: The hops that a window may get by default.
HOPS = tuple(
    parse_duration(text)
    for text in (
        *("1ms", "2ms", "5ms", "10ms", "20ms", "50ms", "100ms", "200ms", "500ms"),
        *("1s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m"),
        *("1h", "2h", "3h", "4h", "6h", "12h", "1d", "1w"),
    )
)


#: A row is read and written as a whole, so its size is bounded.
MOST_TILES = 10_000
#: The tiles that a row keeps beyond its window: a worker holds memory for 256 rows at once.
MOST_KEPT = 100_000


def read_view(read: Read, model_stream: type[Stream], part: str, mistakes: Mistakes) -> Typed | None:
    """Compile a read of a view for the events of a model's stream; return None if it has mistakes."""
    view, windows = read.view, [window_name(window) for window in read.view.windows]
    report = PartMistakes(read.place, part, mistakes)
    before = len(mistakes)
    if read.aggregate not in view.aggregate_names:
        cure = instead_of(str(read.aggregate), view.aggregate_names, "aggregates")
        report.add(f"view {view.name} has no aggregate {read.aggregate!r}", cure)
    if read.window not in windows:
        cure = instead_of(str(read.window), windows, "windows")
        report.add(f"view {view.name} has no window {read.window!r}", cure)
    for name in read.key:
        if name not in view.by:
            problem = f"view {view.name} is not by {name!r}"
            report.add(problem, instead_of(name, view.by, "keys"))
    key = tuple(read.key.get(name, name) for name in view.by)
    for name, field in zip(view.by, key, strict=True):
        _check_key(view, report, name=name, field=field, stream=model_stream)
    if len(mistakes) > before:
        return None
    return Typed(definition.Aggregate(view.state_name, read.aggregate, read.window, key), FieldType.FLOAT)


def _check_key(view: View, report: PartMistakes, *, name: str, field: str, stream: type[Stream]) -> None:
    fields = field_types(stream)
    view_type = field_types(view.stream).get(name) if is_stream(view.stream) else None
    if view_type is None or view_type in NAMELESS:
        return  # this mistake is reported where the view is declared
    if field not in fields:
        problem = f"view {view.name} is by {name!r}, and stream {stream_name(stream)} has no field {field!r}"
        cure = f'Say which field names the {name}: {view.name}.of({name}="...").'
        if name != field:
            cure = instead_of(field, fields, "fields")
        report.add(problem, cure)
        return
    stream_type = fields[field]
    if stream_type is not None and stream_type is not view_type:
        problem = f"view {view.name} is by {name!r}, {a_type(view_type)}, and {field!r} is {a_type(stream_type)}"
        report.add(problem, "Give both the same type, or name another field with .of().")


def define_view(view: View, ahead: int, mistakes: Mistakes) -> ViewDefinition | None:
    """Compile a view to its definition; it is meaningless if mistakes were found, and None without a stream.

    `ahead` is how far a row may be ahead of its readers.
    """
    if not is_stream(view.stream):
        cure = "Give it a stream: View(Departed, ...)."
        mistakes.add(view.place, view.part, f"{view.stream!r} is no stream", cure)
        return None
    return _ViewCompiler(view, ahead, mistakes).define()


class _ViewCompiler:
    def __init__(self, view: View, ahead: int, mistakes: Mistakes) -> None:
        self._view = view
        self._ahead = ahead
        self._mistakes = mistakes
        self._fields = field_types(view.stream)
        self._derived: dict[str, Typed | None] = {}
        #: The derived columns that aggregates need.
        self._columns: dict[str, definition.Expression] = {}

    def define(self) -> ViewDefinition:
        view = self._view
        self._check_by()
        for name, value in view.derive.items():
            self._derive(name, value)
        where = self._where()
        aggregates = self._aggregates()
        resolution = self._duration("resolution", view.resolution) or _SECOND
        windows, keep = self._windows(resolution), self._keep(resolution)
        for window in windows:
            self._check_kept(window, keep)
        return ViewDefinition(
            name=view.state_name,
            stream=stream_name(view.stream),
            by=view.by,
            where=where,
            columns=tuple(self._columns.items()),
            aggregates=aggregates,
            windows=windows,
            resolution=resolution,
            keep=keep,
            expire=self._expire(windows, keep),
            alias=view.alias,
        )

    def _wrong(self, problem: str, cure: str, place: Place | None = None) -> None:
        self._mistakes.add(place or self._view.place, self._view.part, problem, cure)

    def _duration(self, option: str, value: object) -> int:
        try:
            return parse_duration(value)
        except ValueError as error:
            self._wrong(f"{option} {error}", EXAMPLES)
            return 0

    def _keep(self, resolution: int) -> int:
        if self._view.keep is None:
            return self._ahead + KEEP_LONGER
        keep = self._duration("keep", self._view.keep)
        minimum = self._ahead + resolution
        if 0 < keep < minimum:
            problem = (
                f"keep {format_duration(keep)} is less than three times the loop's greatest lateness and a resolution"
            )
            self._wrong(problem, f"Keep at least {format_duration(minimum)}, or leave it out.")
        return keep

    def _expire(self, windows: tuple[Window, ...], keep: int) -> int | None:
        if self._view.expire is None:
            return None
        before = len(self._mistakes)
        expire = self._duration("expire", self._view.expire)
        minimum = max((window.size for window in windows), default=0) + keep
        if len(self._mistakes) == before and expire < minimum:
            problem = f"expire {format_duration(expire)} is less than its longest window and what rows keep"
            self._wrong(problem, f"Let rows stay at least {format_duration(minimum)}, or leave it out.")
        return expire

    def _check_by(self) -> None:
        if not self._view.by:
            self._wrong("by names no field", 'Say what the view is about: by="carrier".')
        for field in self._view.by:
            if field not in self._fields:
                problem = f"stream {stream_name(self._view.stream)} has no field {field!r} to be by"
                self._wrong(problem, instead_of(field, self._fields, "fields"))
            elif (kind := self._fields[field]) in NAMELESS:
                problem = f"by {field!r} is {a_type(kind)}, which names no entity"
                self._wrong(problem, "Use a str, int or bool field.")
        if len(set(self._view.by)) < len(self._view.by):
            self._wrong(f"by names a field twice: {', '.join(self._view.by)}", "Name each once.")

    def _scope(self) -> Scope:
        return Scope(self._view.stream, self._view.part, self._mistakes, self._derived)

    def _resolve(self, value: object, subject: str) -> Typed | None:
        """Resolve an expression of the view's columns; derived ones are replaced by their expressions."""
        if isinstance(value, bool | int | float):
            value = Literal(value)
            value.place = self._view.place
        if not isinstance(value, Expression):
            self._wrong(f"{subject} is {value!r}", 'Write an expression of columns, such as col("delay_min") > 15.')
            return None
        return self._scope().resolve(value)

    def _derive(self, name: str, value: object) -> None:
        if name in self._fields:
            problem = f"derive {name!r} hides the field of stream {stream_name(self._view.stream)}"
            self._wrong(problem, "Name it otherwise.")
        # Register the name before resolving it, so that a mistaken column is not reported again where it is used.
        self._derived[name] = None
        self._derived[name] = self._resolve(value, f"derive {name!r}")

    def _where(self) -> definition.Expression | None:
        if self._view.where is None:
            return None
        where = self._resolve(self._view.where, "where")
        if where is None:
            return None
        if where.type is not FieldType.BOOL:
            place = self._view.where.place if isinstance(self._view.where, Expression) else None
            cure = 'Write a condition, such as col("delay_min") > 0.'
            self._wrong(f"where has the wrong type: {a_type(where.type)}", cure, place)
        return where.value

    def _aggregates(self) -> tuple[AggregateDefinition, ...]:
        if not self._view.aggregate_names:
            problem = "its aggregates have no names" if self._view.aggregates else "it has no aggregates"
            self._wrong(problem, 'Give it some by name: aggregates={"mean_delay": Mean("delay_min")}.')
            return ()
        return tuple(self._aggregate(str(name), aggregate) for name, aggregate in self._view.aggregates.items())

    def _aggregate(self, name: str, aggregate: object) -> AggregateDefinition:
        if not is_name(name):
            self._wrong(f"{name!r} is no name for an aggregate", NAMES)
        if not isinstance(aggregate, Aggregate) or not aggregate.operation:
            text = getattr(aggregate, "__name__", repr(aggregate))
            self._wrong(f"{name!r} is {text}, no aggregate", f'Use one of {", ".join(AGGREGATES)}: Mean("x").')
            return AggregateDefinition(name, "count", None)
        if aggregate.column is None and isinstance(aggregate, Count):
            return AggregateDefinition(name, aggregate.operation, None)
        return AggregateDefinition(name, aggregate.operation, self._aggregate_column(name, aggregate))

    def _aggregate_column(self, name: str, aggregate: Aggregate) -> str | None:
        """Return the column of an aggregate; an expression becomes a derived column."""
        value = aggregate.column
        column = value
        if isinstance(value, str):
            column = Column(value)
            column.place = aggregate.place
        if not isinstance(column, Expression):
            cure = f'Name the column: {type(aggregate).__name__}("delay_min").'
            self._wrong(f"aggregate {name!r} is over {value!r}, no column", cure, aggregate.place)
            return None
        resolved = self._scope().resolve(column)
        if resolved is None:
            return None
        countable = isinstance(aggregate, Count) or resolved.type in NUMBER
        if not countable:
            problem = f"aggregate {name!r} has the wrong type: {column.name} is {a_type(resolved.type)}"
            cure = "Aggregate a number or a condition; derive={...} makes columns of others."
            self._wrong(problem, cure, aggregate.place)
        if isinstance(resolved.value, definition.Column):
            return resolved.value.name
        derived = column.column if isinstance(column, Column) else expression_text(resolved.value)
        self._columns[derived] = resolved.value
        return derived

    def _windows(self, resolution: int) -> tuple[Window, ...]:
        if not self._view.windows:
            self._wrong("it has no windows", 'Say how far back it looks: windows=["3h", "24h"].')
        hops = self._hops()
        windows: dict[int, Window] = {}
        for window in self._view.windows:
            try:
                size = parse_duration(window)
            except ValueError as error:
                self._wrong(f"window {error}", EXAMPLES)
                continue
            name = window_name(window)
            if size == 0 or size % resolution:
                cure = f"Make it a multiple of the resolution, {format_duration(resolution)}."
                self._wrong(f"window {name!r} is shorter than, or no multiple of, a step of its head", cure)
            elif size in windows:
                self._wrong(f"windows {windows[size].name!r} and {name!r} are the same", "Drop one.")
            else:
                before = len(self._mistakes)
                windows[size] = Window(name, size, self._hop(name, size, resolution, hops) or size)
                if len(self._mistakes) == before:
                    self._check_tiles(windows[size])
        return tuple(windows.values())

    def _hops(self) -> dict[str, object]:
        """Return the declared hops by window, without mistaken ones."""
        names = [window_name(window) for window in self._view.windows]
        value = self._view.hop
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            return dict.fromkeys(names, value)
        for window in value:
            if window_name(window) not in names:
                self._wrong(f"hop is for {window!r}, no window", instead_of(str(window), names, "windows"))
        return {window_name(window): hop for window, hop in value.items()}

    def _hop(self, window: str, size: int, resolution: int, hops: Mapping[str, object]) -> int | None:
        if window not in hops:
            return _default_hop(size, resolution)
        before = len(self._mistakes)
        hop = self._duration(f"hop of window {window!r}:", hops[window])
        if len(self._mistakes) > before:
            return None
        if hop and size % hop:
            fitting = _default_hop(size, resolution)
            cure = f"Use one that does, such as {format_duration(fitting)!r}."
            self._wrong(f"hop {format_duration(hop)!r} does not divide window {window!r}", cure)
        elif hop == 0 or hop % resolution:
            cure = f"Make it a multiple of {format_duration(resolution)}."
            self._wrong(f"hop {format_duration(hop)!r} of window {window!r} is no multiple of the resolution", cure)
        return hop

    def _check_tiles(self, window: Window) -> None:
        tiles = window.size // window.hop
        if tiles > MOST_TILES:
            problem = f"window {window.name!r} is {tiles:,} tiles of {format_duration(window.hop)} in each row"
            self._wrong(problem, f"Use a longer hop, or a rounder window: at most {MOST_TILES:,} tiles.")

    def _check_kept(self, window: Window, keep: int) -> None:
        """Refuse a row that is kept for so long behind its newest event that its tiles do not fit into memory."""
        tiles = -(-keep // window.hop)
        if tiles > MOST_KEPT:
            problem = f"rows keep {format_duration(keep)}, for window {window.name!r} {tiles:,} tiles of"
            problem += f" {format_duration(window.hop)} in each row"
            cure = "Use a longer hop, or less lateness (rows keep three times the loop's greatest) or keep"
            self._wrong(problem, f"{cure}: at most {MOST_KEPT:,} tiles.")


def _default_hop(size: int, resolution: int) -> int:
    """Return the largest round hop of at most a twelfth of the window, or the resolution if that is larger."""
    fitting = (hop for hop in HOPS if hop * 12 <= size and size % hop == 0 and hop % resolution == 0)
    return max(fitting, default=resolution)
