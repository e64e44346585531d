"""The crash suite can fail: one guarantee broken at a time, and each time the comparison says what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash.compare import Comparison, compare
from tests.crash.faults import Fault, Kind
from tests.crash.grounds import Grounds
from tests.crash.load import Load
from tests.crash.outcome import Outcome
from tests.crash.run import disturbed, undisturbed

pytestmark = pytest.mark.official

SHORT = Load(seed=3, seconds=15.0)

#: Longer than the broker takes to hand the partitions of a suspended worker on; it wakes up while events still flow.
ZOMBIE = Fault(2.0, Kind.SUSPEND, "feature-0", 11.5)

#: Between any two effects of a step, and between deciding on examples and sending them.
MOMENTS = "emitted,recorded,written,saved,decided"


@pytest.fixture(scope="module")
def expected(grounds: Grounds, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes of the events when nothing happens."""
    return undisturbed(grounds, tmp_path_factory.mktemp("undisturbed"), SHORT)


def through(
    grounds: Grounds,
    directory: Path,
    expected: Outcome,
    planned: Sequence[Fault],
    services: dict[str, str],
    moments: str = "",
) -> Comparison:
    """What comparing says of a run with these services."""
    modules = {name: f"tests.crash.mutants.{module}" for name, module in services.items()}
    environment = {"HEADRACE_MOMENTS": moments}
    run = disturbed(
        grounds, directory, SHORT, planned, services=modules, environment=environment, settle_s=20.0, say=print
    )
    found = compare(run.outcome, expected)
    if run.unfinished:
        found.differences.append(run.unfinished)
    print("\n".join(found.differences))
    return found


def test_without_a_mutation_all_is_the_same(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    planned = [ZOMBIE, Fault(1.0, Kind.KILL, "learner-0"), Fault(4.0, Kind.KILL, "feature-1")]
    found = through(grounds, tmp_path, expected, planned, {"feature": "mortal"}, MOMENTS)
    assert found.differences == []
    assert found.passed
    assert len(list((tmp_path / "state" / "feature").glob("died-*"))) == MOMENTS.count(",") + 1


def test_a_zombie_without_a_fence_is_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    found = through(grounds, tmp_path, expected, [ZOMBIE], {"feature": "fence"})
    assert not found.rows_equal
    assert not found.passed


def test_progress_saved_before_the_vectors_are_sent_is_noticed(
    grounds: Grounds, tmp_path: Path, expected: Outcome
) -> None:
    found = through(grounds, tmp_path, expected, [], {"feature": "order"}, "saved")
    assert not found.vectors_equal
    assert found.examples_missing
    assert not found.passed


def test_resends_that_count_are_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    found = through(grounds, tmp_path, expected, [], {"feature": "ids"})
    assert not found.rows_equal
    assert not found.passed


def test_examples_learned_twice_are_noticed(grounds: Grounds, tmp_path: Path, expected: Outcome) -> None:
    planned = [Fault(6.0, Kind.KILL, "feature-0"), Fault(4.0, Kind.KILL, "feature-1")]
    found = through(grounds, tmp_path, expected, planned, {"learner": "skip", "feature": "mortal"})
    assert found.examples_equal
    assert not found.model_equal
    assert not found.passed
