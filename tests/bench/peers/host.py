"""What the host took away while something was measured: stolen time, and waiting for a CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

#: Shares of a round's time above which it is marked.
MOST_STOLEN, MOST_WAITING = 0.01, 0.10


@dataclass(frozen=True)
class HostTime:
    """Counters of the machine at one moment."""

    seconds: float
    #: Ticks of all CPUs, and those of them that the host gave to another machine.
    ticks: int
    stolen_ticks: int
    #: Microseconds in which some process waited for a CPU; None where the kernel does not count them.
    waiting: int | None


@dataclass(frozen=True)
class Disturbance:
    """Shares of the time between two moments that were stolen, or in which some process waited for a CPU."""

    stolen: float
    waiting: float | None

    @property
    def is_marked(self) -> bool:
        """Whether the figures are suspect."""
        return self.stolen > MOST_STOLEN or (self.waiting is not None and self.waiting > MOST_WAITING)


def host_time(proc: Path = Path("/proc")) -> HostTime:
    """Read the counters."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
    ticks = [int(word) for word in (proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return HostTime(time.monotonic(), sum(ticks), ticks[7], _waiting(proc / "pressure" / "cpu"))


def _waiting(file: Path) -> int | None:
    try:
        some = file.read_text().split("\n", 1)[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2])


def disturbance(before: HostTime, after: HostTime) -> Disturbance:
    """Compare two moments."""
    stolen = (after.stolen_ticks - before.stolen_ticks) / max(after.ticks - before.ticks, 1)
    if before.waiting is None or after.waiting is None:
        return Disturbance(stolen, None)
    return Disturbance(stolen, (after.waiting - before.waiting) / 1e6 / max(after.seconds - before.seconds, 1e-9))
