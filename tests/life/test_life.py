"""One ordinary life of three minutes, a different one each time; `make life` lives longer ones."""

from __future__ import annotations

import random
from pathlib import Path

from tests.life import report
from tests.life.life import Settings, live
from tests.oracle.vectors import Tolerance

_SECONDS = 180.0

#: For a machine three times slower than the one this was measured on: nothing is late by the clock alone.
_SLOW = Settings(patience=60.0, tolerance=Tolerance(delivery=10_000_000))


def test_an_ordinary_life_loses_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    life = live(seed, lambda actions, seconds: seconds > _SECONDS, tmp_path, _SLOW, print)
    print(report.table(life), report.line(life), sep="\n")
    again = f"python -m tests.life --seed {seed} --actions {len(life.actions)}"
    assert life.differences == [], f"again, and shortened: {again}"
    assert life.counts["examples"] > 0
    assert life.situations["answer of a command"] > 0
