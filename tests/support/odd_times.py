"""Times that no calendar has."""

from __future__ import annotations

from headrace.watermark import ENDED, IDLE, UNKNOWN

HOUR = 3_600_000_000


#: Times outside any calendar, or just inside: sentinels, and those a lateness away from them.
ODD_TIMES = (
    *(ENDED, IDLE, UNKNOWN, UNKNOWN + HOUR, UNKNOWN - HOUR, 2**63 - 1, -(2**63)),
    *(253_402_300_799_999_999, 253_402_300_800_000_000, -62_135_596_800_000_000, -62_135_596_800_000_001),
)
