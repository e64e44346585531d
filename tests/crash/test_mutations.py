"""The crash suite can fail: each test breaks one guarantee, and the comparison says which."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.crash.compare import Comparison, compare
from tests.crash.grounds import Grounds
from tests.crash.load import Load
from tests.crash.outcome import Outcome
from tests.crash.run import disturbed, undisturbed

pytestmark = pytest.mark.official

SHORT = Load(seed=3, seconds=15.0)

#: A zombie in the middle of a step: it wakes up with rows still to write, long after another worker has taken over.
ZOMBIE = "~writing"

#: Deaths before and after a step's effects on the store, and between sending examples and continuing.
DEATHS = ("-emitted", "-saved", "-joined")

#: Share of its pace at which the second half of the load comes while planned moments are to come.
SLOWLY = 0.1


class Pace:
    """Seconds of the load that may have been sent: on a slow machine the moments would come after its end.

    Every moment needs a step, and every step needs events.
    """

    def __init__(self, directory: Path, moments: Collection[str]) -> None:
        self._directory = directory
        self._moments = moments
        self._since: float | None = None

    def __call__(self) -> float:
        if moments_in(self._directory) >= {moment[1:] for moment in self._moments}:
            return math.inf
        self._since = self._since or time.monotonic()
        elapsed, half = time.monotonic() - self._since, SHORT.seconds / 2
        return elapsed if elapsed < half else half + (elapsed - half) * SLOWLY


def moments_in(directory: Path) -> set[str]:
    """Return the names of the moments that have come."""
    return {path.name.removeprefix("was-") for path in (directory / "state" / "feature").glob("was-*")}


@pytest.fixture(scope="module")
def expected(grounds: Grounds, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return the outcome of the events without faults."""
    return undisturbed(grounds, tmp_path_factory.mktemp("undisturbed"), SHORT)


def through(
    grounds: Grounds,
    directory: Path,
    expected: Outcome,
    services: dict[str, str],
    *moments: str,
    settle_s: float = 20.0,
    wake: Path | None = None,
) -> Comparison:
    """Run with these services and the faults planned at these moments; return the comparison with `expected`.

    A zombie wakes up while events come, or, given a file to `wake` it, when everything is at the end.
    """
    variables = {"HEADRACE_MOMENTS": ",".join(moments)} | ({} if wake is None else {"HEADRACE_WAKE": str(wake)})
    modules = {name: f"tests.crash.mutants.{module}" for name, module in services.items()}
    run = disturbed(
        grounds,
        directory,
        SHORT,
        [],
        services=modules,
        environment=variables,
        settle_s=settle_s,
        wake=wake,
        may_send=Pace(directory, moments),
        say=print,
    )
    assert moments_in(directory) == {moment[1:] for moment in moments}
    comparison = compare(run.outcome, expected)
    if run.unfinished:
        comparison.differences.append(run.unfinished)
    print("\n".join(comparison.differences))
    return comparison


def test_without_a_mutation_all_is_the_same(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    comparison = through(grounds, tmp_path, expected, {"feature": "mortal"}, ZOMBIE, *DEATHS, settle_s=90.0)
    assert comparison.differences == []
    assert comparison.passed


def test_a_zombie_without_a_fence_is_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    # No later event makes good what the zombie writes.
    comparison = through(
        grounds, tmp_path, expected, {"feature": "fence"}, ZOMBIE, settle_s=90.0, wake=tmp_path / "wake"
    )
    assert not comparison.rows_equal
    assert not comparison.passed


def test_progress_saved_before_the_vectors_are_sent_is_noticed(
    grounds: Grounds, tmp_path: Path, expected: Outcome
) -> None:
    comparison = through(grounds, tmp_path, expected, {"feature": "order"}, "-saved")
    assert comparison.rows_equal
    assert not comparison.vectors_equal
    assert comparison.examples_missing
    assert not comparison.passed


def test_resends_that_count_are_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    comparison = through(grounds, tmp_path, expected, {"feature": "ids"})
    # Marks follow each slice, so most resent events are late.
    assert not (comparison.rows_equal and comparison.dead_letters_equal)
    assert not comparison.passed


def test_examples_learned_twice_are_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    comparison = through(grounds, tmp_path, expected, {"learner": "skip", "feature": "mortal"}, "-joined")
    assert comparison.rows_equal
    assert comparison.examples_equal
    assert not comparison.model_equal
    assert not comparison.passed
