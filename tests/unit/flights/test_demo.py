"""The demo's errors about a number of events that it cannot use."""

from __future__ import annotations

import pytest

from examples.flights import demo


@pytest.mark.parametrize(
    ("events", "told"),
    [("many", "'many' is no number of events"), ("-1", "'-1' is no number of events"), ("5", "too few for a flight")],
)
def test_a_number_of_events_that_will_not_do_is_refused(
    events: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main([f"--events={events}"])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
