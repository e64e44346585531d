"""The aggregates: each that the kernel computes can be declared, is exported, documented, and known to the oracle."""

from __future__ import annotations

import headrace
from headrace import declare
from headrace.declare.aggregates import AGGREGATES, Aggregate
from headrace.engine.kernel import tiles
from tests.contract.repository import ROOT
from tests.oracle import windows


def test_the_kernel_the_words_and_the_oracle_have_the_same_aggregates() -> None:
    operations = [getattr(declare, name).operation for name in AGGREGATES]
    assert operations == list(tiles.AGGREGATES)
    assert set(windows.OPERATIONS) == set(operations)


def test_a_number_of_the_kernel_names_one_aggregate() -> None:
    numbers = [kind.number for kind in tiles.AGGREGATES.values()]
    assert numbers == list(range(len(numbers)))


def test_every_aggregate_can_be_imported_and_is_on_its_page() -> None:
    page = (ROOT / "docs" / "define-a-loop.md").read_text()
    for name in AGGREGATES:
        assert issubclass(getattr(declare, name), Aggregate)
        assert name in declare.__all__
        assert name in headrace.__all__
        assert f"`{name}" in page
