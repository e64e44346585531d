"""One life from beginning to end, and the shortest prefix of one that differs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.life.plan import Action, Plan
from tests.life.world import Say, lived
from tests.oracle.vectors import USUAL, Tolerance


@dataclass
class Life:
    """The record of a life.

    Attributes
    ----------
    actions
        The actions that were carried out.
    """

    seed: int
    broker: str
    actions: list[Action] = field(default_factory=list)
    situations: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0


#: The services that differ from the usual ones.
SLOW = {"feature": "tests.life.slow_feature"}


@dataclass(frozen=True)
class Settings:
    """The settings of lives: see `tests.life.world.World` and `tests.life.plan.Plan`."""

    broker: str = "embedded"
    patience: float = 30.0
    compares: float = 0.35
    tolerance: Tolerance = USUAL
    environment: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=lambda: dict(SLOW))


def live(seed: int, ends: Callable[[int, float], bool], directory: Path, settings: Settings, say: Say) -> Life:
    """Live until `ends` (given the number of actions and the seconds) holds, or the life differs from the oracle."""
    plan, start = Plan(seed, settings.compares), time.monotonic()
    life = Life(seed, settings.broker)
    with lived(
        directory,
        settings.broker,
        plan.partitions,
        patience=settings.patience,
        tolerance=settings.tolerance,
        environment=settings.environment,
        services=settings.services,
        say=say,
    ) as world:
        lasts = time.monotonic()
        for action in plan.actions():
            if world.differences or ends(len(life.actions), time.monotonic() - lasts):
                break
            say(f"{len(life.actions):3d} {action}")
            world.perform(action)
            life.actions.append(action)
    life.situations, life.counts, life.differences = world.situations, world.counts, world.differences
    life.seconds = time.monotonic() - start
    return life


def shrink(life: Life, directory: Path, settings: Settings, say: Say, tries: int = 4) -> Sequence[Action]:
    """Find, by halving, the shortest prefix that still differs; each try is a separate life."""
    low, high = 0, len(life.actions)
    for attempt in range(tries):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        say(f"does it differ after {middle} actions?")
        again = live(life.seed, _after(middle), directory / str(attempt), settings, say)
        if again.differences:
            high = len(again.actions)
        else:
            low = middle
    return list(islice(Plan(life.seed, settings.compares).actions(), high))


def _after(actions: int) -> Callable[[int, float], bool]:
    return lambda done, seconds: done >= actions
