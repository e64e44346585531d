"""JSON of the command line that Python's decoder gives up on: each command says so, or takes it as text."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from headrace.cli import score
from headrace.cli.dead_letters.editing import fields_of

DEEP = 100_000 * "["
LONG = 10_000 * "9"


@pytest.mark.parametrize("event", ["{", DEEP, '{"amount": ' + LONG + "}"], ids=["cut", "deep", "many digits"])
def test_an_event_to_score_that_is_no_json_is_refused(event: str) -> None:
    result = CliRunner().invoke(score.command, ["m", "--event", event])
    assert result.exit_code == click.UsageError.exit_code
    assert "no JSON" in result.output


@pytest.mark.parametrize("value", ["{", DEEP, LONG], ids=["cut", "deep", "many digits"])
def test_a_value_of_a_dead_letter_that_is_no_json_is_text(value: str) -> None:
    assert fields_of([f"amount={value}"]) == {"amount": value}
