"""Lives find faults: one fault at a time, each within three seeds (`make mutations`; not part of the suite)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.life.life import SLOW, Life, Settings, live
from tests.life.mutants import VARIABLE, feature, learner
from tests.oracle.vectors import Tolerance

#: Lives of three minutes, which end at the first difference: seeds that soon come to what is rare.
_SEEDS, _SECONDS = (1, 12, 43), 180.0

#: On an otherwise idle machine, what a vector lacks was published after it, or at most this long (µs) before.
_QUIET = Tolerance(delivery=500_000)

_FAULTS = [("feature", name) for name in feature.FAULTS] + [("learner", name) for name in learner.FAULTS]


def lived(directory: Path, seed: int, service: str, fault: str) -> Life:
    settings = Settings(
        patience=25.0,
        compares=1.0,
        tolerance=_QUIET,
        environment={VARIABLE: fault},
        services=SLOW | ({service: f"tests.life.mutants.{service}"} if service else {}),
    )
    return live(seed, lambda actions, seconds: seconds > _SECONDS, directory / str(seed), settings, print)


@pytest.mark.parametrize("seed", _SEEDS)
def test_without_a_fault_nothing_differs(seed: int, tmp_path: Path) -> None:
    assert lived(tmp_path, seed, "", "").differences == []


@pytest.mark.parametrize(("service", "fault"), _FAULTS)
def test_a_fault_is_found_within_three_seeds(service: str, fault: str, tmp_path: Path) -> None:
    start = time.monotonic()
    for seed in _SEEDS:
        differences = lived(tmp_path, seed, service, fault).differences
        if differences:
            print(f"FOUND {fault}: seed {seed}, {time.monotonic() - start:.0f} s: {differences[0][:200]}")
            return
    pytest.fail(f"{fault} was not found by the seeds {_SEEDS}")
