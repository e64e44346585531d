"""What a client of the broker is made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.log.connection import connect
from headrace.settings import ServiceSettings


def test_a_client_comes_in_by_the_listener_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[dict[str, Any]] = []

    class Client:
        def __init__(self, url: str, **given: Any) -> None:
            made.append({"url": url, **given})

    monkeypatch.setattr("headrace.log.connection.pulsar.Client", Client)
    monkeypatch.setenv("HEADRACE_PULSAR_URL", "pulsar://broker:6650")
    connect(ServiceSettings(loop=tmp_path))
    monkeypatch.setenv("HEADRACE_PULSAR_LISTENER", "outside")
    connect(ServiceSettings(loop=tmp_path))
    assert [(own["url"], own["listener_name"]) for own in made] == [
        ("pulsar://broker:6650", None),
        ("pulsar://broker:6650", "outside"),
    ]
