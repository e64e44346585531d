"""The guarantees page names only tests that exist."""

from __future__ import annotations

import re

from tests.contract.repository import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_test_that_shows_a_guarantee_exists() -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) >= 30
    assert named - there == set()


def test_every_invariant_has_its_section() -> None:
    assert re.findall(r"^## (\d+)\.", PAGE, re.MULTILINE) == [str(number) for number in range(1, 12)]
