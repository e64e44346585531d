"""Views: aggregates over windows of a stream, for an entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import overload

from headrace.declare.aggregates import Aggregate
from headrace.declare.declaration import Declaration
from headrace.declare.durations import Duration, format_duration, parse_duration
from headrace.declare.expressions import Expression, FieldName, Mistaken, Operand, Selection, Transforms, field_name
from headrace.declare.place import Place
from headrace.declare.streams import Stream


class Read(Expression):
    """One aggregate of a view over one of its windows, for the entity that an event names."""

    def __init__(
        self, view: View, aggregate: str, window: str, key: dict[str, str], *, place: Place | None = None
    ) -> None:
        super().__init__(place)
        self.view = view
        self.aggregate = aggregate
        self.window = window
        self.key = key

    def _text(self, stored: bool) -> str:
        view = self.view.state_name if stored else self.view.name
        of = ",".join(f"{name}={field}" for name, field in self.key.items())
        return f"{view}{f'.of({of})' if of else ''}.{self.aggregate}.{self.window}"


class Row(Transforms[Selection]):
    """A view's row for the entity that certain fields of the model's stream name."""

    def __init__(self, view: View, key: Mapping[str, object]) -> None:
        self.place = Place.here()
        self.view = view
        self.key = {name: str(field_name(field)) for name, field in key.items()}

    @overload
    def __getitem__(self, selected: str) -> Selection: ...

    @overload
    def __getitem__(self, selected: tuple[str, str]) -> Expression: ...

    def __getitem__(self, selected: str | tuple[str, str]) -> Selection | Expression:
        if isinstance(selected, tuple) and len(selected) == 2:
            return Read(self.view, selected[0], selected[1], self.key)
        if isinstance(selected, str):
            return self._selection([selected])
        return Mistaken(f"{selected!r} selects nothing of a view", 'Write view["mean"] or view["mean", "3h"].')

    @property
    def all(self) -> Selection:
        """All its aggregates over all windows."""
        return self._selection(self.view.aggregate_names)

    def _selection(self, aggregates: Sequence[str]) -> Selection:
        windows = [window_name(window) for window in self.view.windows]
        reads = (
            Read(self.view, aggregate, window, self.key, place=self.place)
            for aggregate in aggregates
            for window in windows
        )
        return Selection(tuple(reads))

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Selection:
        return self.all._apply(operation, others, parameters, swap)


class View(Declaration, Transforms[Selection]):
    """Aggregates over windows of one stream, for one entity.

    As a feature of a model it represents all its aggregates over all its windows; ``view["mean"]``
    and ``view["mean", "3h"]`` select some of them.

    Parameters
    ----------
    stream
        The stream whose events are aggregated.
    by
        The field, or fields, that name the entity.
    windows
        How far back each window reaches: ``["3h", "24h"]``.
    aggregates
        The aggregates by name: ``{"mean_delay": Mean("delay_min")}``.
    where
        Only events for which this holds are counted.
    derive
        Columns computed from the event's fields, by name, for `aggregates` and `where`.
    hop
        By window, the steps in which its tail moves (a single duration applies to all windows); by default a round
        duration of at most a twelfth of the window.
    resolution
        The step in which the head moves: events within one such step do not see each other.
    keep
        How far behind its newest event a row can be read exactly; by default a minute more than
        three times the greatest lateness of the loop's streams. Several feature workers that play history never get
        further ahead of each other than this.
    expire
        How long (wall clock) after its last write a row stays in the store; by default twice the longest
        window, plus a day.
    name
        Its name; by default, that of its variable.
    was
        Its previous name, if it was renamed: its state is kept under the old name.
    """

    kind = "view"
    renamed_options = MappingProxyType({"features": "aggregates"})

    def __init__(
        self,
        stream: type[Stream],
        *,
        by: FieldName | Sequence[FieldName],
        windows: Duration | Sequence[Duration],
        aggregates: Mapping[str, Aggregate],
        where: Operand = None,
        derive: Mapping[str, Operand] | None = None,
        hop: Duration | Mapping[str, Duration] | None = None,
        resolution: Duration = "1s",
        keep: Duration | None = None,
        expire: Duration | None = None,
        name: str | None = None,
        was: str | None = None,
    ) -> None:
        super().__init__(name, was)
        self.stream = stream
        self.by = _by(by)
        self.windows = _windows(windows)
        self.aggregates = dict(aggregates) if isinstance(aggregates, Mapping) else aggregates
        self.where = where
        self.derive = dict(derive or {})
        self.hop = hop
        self.resolution = resolution
        self.keep = keep
        self.expire = expire

    @property
    def aggregate_names(self) -> list[str]:
        """The names of its aggregates."""
        return [str(name) for name in self.aggregates] if isinstance(self.aggregates, Mapping) else []

    def of(self, **key: FieldName | None) -> Row:
        """Return the row of the entity that other fields of the model's stream name.

        Examples
        --------
        ``carrier_delay.of(carrier="operator")`` reads the carrier that the event calls its operator.
        """
        return Row(self, key)

    @overload
    def __getitem__(self, selected: str) -> Selection: ...

    @overload
    def __getitem__(self, selected: tuple[str, str]) -> Expression: ...

    def __getitem__(self, selected: str | tuple[str, str]) -> Selection | Expression:
        return Row(self, {})[selected]

    @property
    def all(self) -> Selection:
        """All its aggregates over all its windows."""
        return Row(self, {}).all

    def _apply(
        self, operation: str, others: tuple[object, ...] = (), parameters: tuple[object, ...] = (), swap: bool = False
    ) -> Selection:
        return self.all._apply(operation, others, parameters, swap)


def window_name(window: object) -> str:
    """Return what a window is called: the text that was written."""
    return format_duration(parse_duration(window)) if isinstance(window, timedelta) else str(window)


def _by(by: object) -> tuple[str, ...]:
    columns = by if isinstance(by, Sequence) and not isinstance(by, str) else (by,)
    return tuple(str(field_name(column)) for column in columns)


def _windows(windows: object) -> tuple[object, ...]:
    return tuple(windows) if isinstance(windows, Sequence) and not isinstance(windows, str) else (windows,)
