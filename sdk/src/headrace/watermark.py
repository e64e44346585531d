"""Watermarks that are not times: `ENDED` and `IDLE` for a source that holds nothing back, and `UNKNOWN`.

`ENDED` and `IDLE` are later than every time, so the minimum of several watermarks ignores such sources.
"""

from __future__ import annotations

#: The source has ended: its producer said that nothing follows.
ENDED = 2**62

#: The source is idle. More events may follow at any time; idleness makes nothing final.
IDLE = ENDED - 1

#: The source has not reported anything yet.
UNKNOWN = -ENDED
