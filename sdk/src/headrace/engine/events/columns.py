"""A batch of events by column, in the form of the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Numbers, booleans (0.0, 1.0) and times (µs) are float64, with NaN for missing values; strings are objects, with None
#: for missing values, and so are the integers of a batch in which one is too large for a float64.
ColumnArray = npt.NDArray[np.float64] | npt.NDArray[np.object_]


#: Up to this bound a float64 distinguishes an integer from its neighbours.
_EXACT = 2.0**53


def to_floats(times: Sequence[int | None] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Convert times (µs) to float64, NaN for None; round those after 2255 down: none may move to the next hour.

    Examples
    --------
    >>> int(to_floats([253_402_300_799_999_999])[0])
    253402300799999968
    """
    floats = np.array(times, dtype=np.float64)
    for index in np.flatnonzero(np.abs(floats) >= _EXACT).tolist():
        if int(floats[index]) > (times[index] or 0):
            floats[index] = np.nextafter(floats[index], -np.inf)
    return floats


@dataclass(frozen=True)
class EventColumns:
    """N valid events of one stream.

    Attributes
    ----------
    times
        int64[N], event times in µs.
    ids
        The N event ids.
    fields
        Each field of the stream, by its name.
    """

    times: npt.NDArray[np.int64]
    ids: list[str]
    fields: Mapping[str, ColumnArray]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> EventColumns:
        """Return the events at these rows."""
        index = np.asarray(rows, dtype=np.int64)
        return EventColumns(
            self.times[index],
            [self.ids[row] for row in index],
            {name: column[index] for name, column in self.fields.items()},
        )

    @staticmethod
    def concat(parts: Sequence[EventColumns]) -> EventColumns:
        """Concatenate the events of the parts (at least one), in order."""
        if len(parts) == 1:
            return parts[0]
        return EventColumns(
            np.concatenate([part.times for part in parts]),
            [event_id for part in parts for event_id in part.ids],
            {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields},
        )
