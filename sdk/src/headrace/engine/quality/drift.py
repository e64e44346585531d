"""An alarm for a model that has become worse."""

from __future__ import annotations

import msgspec

from headrace.engine.arrays import Floats, Ints

#: Losses are compared with their mean so far; an excess of less than this share is not drift.
TOLERANCE = 0.1
#: The sum of excesses (in means) that raises an alarm.
THRESHOLD = 100.0
#: A single loss counts as at most this many means: one outlier is not drift.
CEILING = 5.0
#: Number of examples before the mean is trusted.
PATIENCE = 500


class DriftAlarm(msgspec.Struct):
    """The one-sided Page-Hinkley test on the losses relative to their running mean.

    It restarts after each alarm, so that a new level raises one alarm only.
    """

    alarms: int = 0
    last_time: int | None = None
    seen: int = 0
    mean: float = 0.0
    excess: float = 0.0

    def update(self, losses: Floats, times: Ints) -> None:
        """Follow a batch of losses, with the event times of their examples."""
        seen, mean, excess = self.seen, self.mean, self.excess
        for row, loss in enumerate(losses.tolist()):
            seen += 1
            if seen > PATIENCE and mean > 0.0:
                ratio = loss / mean
                excess += (ratio if ratio < CEILING else CEILING) - 1.0 - TOLERANCE
                if excess < 0.0:
                    excess = 0.0
                elif excess > THRESHOLD:
                    self.alarms += 1
                    self.last_time = int(times[row])
                    seen, mean, excess = 0, 0.0, 0.0
                    continue
            mean += (loss - mean) / seen
        self.seen, self.mean, self.excess = seen, mean, excess
