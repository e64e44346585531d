"""The demo's events, as another process prepares them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from headrace.demo import preparation, source_tables
from headrace.errors import Unavailable


def test_events_are_prepared_in_another_process(tmp_path: Path) -> None:
    prepared = preparation.begin(tmp_path / "events", 1_000).result()
    assert prepared.count == 1_000
    assert list(prepared.files) == ["scheduled", "departed", "arrived", "weather"]
    assert sum(pq.read_metadata(path).num_rows for path in prepared.files.values()) == 1_000


def test_the_question_is_about_a_flight_after_the_newest_event(tmp_path: Path) -> None:
    prepared = preparation.begin(tmp_path, 1_000).result()
    question = json.loads(prepared.question)
    newest = max(pq.read_table(path)["at"][-1].as_py() for path in prepared.files.values())
    assert question["at"] == newest.replace(second=1).isoformat()
    assert set(question) == {"at", "clock", "carrier", "number", "origin", "dest", "tail", "distance"}


def test_missing_tables_are_named_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_tables, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'headrace\[local\]'"):
        source_tables.tables_folder()
