"""Frontiers that are no times: a source that holds nobody back, and why.

Both are later than every time, so the least of some frontiers is that of the sources that count.
"""

from __future__ import annotations

#: The source has ended: its producer said that nothing more follows.
ENDED = 2**62

#: The source has been silent for long. More may follow, at any time; nothing is over because of it.
RESTING = ENDED - 1

#: Nothing is known of the source yet.
UNKNOWN = -ENDED
