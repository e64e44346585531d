"""Numbers of events that the demo cannot use."""

from __future__ import annotations

import pytest

from headrace.cli.program import run


@pytest.mark.parametrize(
    ("events", "reason"), [("many", "'many' is not a valid integer"), ("-1", "too few"), ("5", "too few for a flight")]
)
def test_the_demo_refuses_a_number_of_events(events: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", f"--events={events}"]) == 2
    assert reason in capsys.readouterr().err
