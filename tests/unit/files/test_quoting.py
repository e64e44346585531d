"""Quotes of CSV: proper ones keep their contents, and a stray one costs no other row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import files
from headrace.definition import Field, FieldType, StreamDefinition
from headrace.files import Rows
from headrace.files.quoting import MAX_LINES

STREAM = StreamDefinition(
    name="said",
    fields=(
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("text", FieldType.STRING, optional=True),
        Field("x", FieldType.INT),
    ),
    key="id",
    time="at",
    id="id",
    lateness=0,
    horizon=0,
)
DAY = "2026-01-01"
HEADER = "id,at,text,x\n"


def read(tmp_path: Path, content: str) -> Rows:
    path = tmp_path / "said.csv"
    path.write_bytes(content.encode())
    rows = Rows()
    for part in files.read(path, STREAM, 100):
        for event, time, line in zip(part.events, part.times, part.lines, strict=True):
            rows.add(event, time, line)
        rows.faults += part.faults
    return rows


def accepted(rows: Rows) -> list[str]:
    wrong = {fault.line for fault in rows.faults}
    return [json.loads(event)["id"] for event, line in zip(rows.events, rows.lines, strict=True) if line not in wrong]


def row(id: int, text: str = "words") -> str:
    return f"{id},{DAY},{text},{id}\n"


def test_a_quoted_cell_may_have_quotes_commas_and_line_breaks(tmp_path: Path) -> None:
    text = 'one, "two"\r\nthree\n\nfour, 2026-01-01, five, 6, 7'
    out = io.StringIO()
    csv.writer(out).writerows([["1", DAY, text, 1], ["2\n3", DAY, text, 2], ["4", DAY, "", 4]])
    got = read(tmp_path, HEADER + out.getvalue())
    assert got.faults == []
    assert [json.loads(event)["text"] for event in got.events] == [text, text, None]
    assert got.lines == [2, 6, 11]


@pytest.mark.parametrize(
    ("first", "last"),
    [('"words', 'words"'), ('"words', '"words"'), ('wo"rds', "words"), ('"wo"rds', "words"), ('"words', "words")],
)
def test_rows_between_two_stray_quotes_are_kept(tmp_path: Path, first: str, last: str) -> None:
    between = [row(number) for number in range(3, 8)]
    got = read(tmp_path, HEADER + row(2, first) + "".join(between) + row(8, last) + row(9))
    assert [id for id in map(str, range(3, 8)) if id not in accepted(got)] == []
    assert "9" in accepted(got)
    # Each of the others is a row of its own, or reported.
    assert got.lines == list(range(2, 10))
    assert got.faults[0].line == 2
    assert "quote" in str(got.faults[0])


def test_a_quote_that_closes_beyond_any_cell_costs_one_row(tmp_path: Path) -> None:
    rows = [row(number) for number in range(3, MAX_LINES + 1_000)]
    got = read(tmp_path, HEADER + row(2, '"words') + "".join(rows))
    assert [fault.line for fault in got.faults] == [2]
    assert f"nothing closes within {MAX_LINES:,} lines" in str(got.faults[0])
    assert len(accepted(got)) == len(rows)


def test_two_rows_in_one_cell_are_told_apart(tmp_path: Path) -> None:
    # Every quote here is proper, and the number of cells is that of the header.
    got = read(tmp_path, HEADER + row(2, '"words') + row(3, 'words"') + row(4))
    assert [fault.line for fault in got.faults] == [2, 3]
    assert "whole rows in it, those of line 3" in str(got.faults[0])
    assert accepted(got) == ["4"]


def test_a_file_of_quotes_is_read_in_linear_time(tmp_path: Path) -> None:
    got = read(tmp_path, HEADER + '"\n' * 20_000 + row(3))
    assert len(got.faults) <= 20_000
    assert accepted(got)[-1:] == ["3"]


words = st.text(st.sampled_from('ab ,"\n'), max_size=8)


@settings(max_examples=300)
@given(texts=st.lists(words, min_size=3, max_size=12), data=st.data())
def test_one_quote_more_costs_the_row_that_it_stands_in(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    records = []
    for number, text in enumerate(texts):
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow([number, DAY, text, number])
        records.append(out.getvalue())
    victim = data.draw(st.integers(0, len(records) - 1))
    at = data.draw(st.integers(0, len(records[victim])))
    torn = records[victim][:at] + '"' + records[victim][at:]
    got = read(tmp_path_factory.mktemp("torn"), HEADER + "".join([*records[:victim], torn, *records[victim + 1 :]]))
    ids = accepted(got)
    # At the end of its line the quote is part of the next row.
    others = [str(number) for number in range(len(texts)) if number not in (victim, victim + (at == len(torn) - 1))]
    assert [id for id in others if id not in ids] == []


def test_a_record_that_is_no_event_does_not_cost_the_row_that_it_ends_in(tmp_path: Path) -> None:
    # The stray quote joins both rows to four cells; only their types show that they are two.
    got = read(tmp_path, HEADER + f'4,{DAY},","",4\n' + f'5,{DAY},",\n",5\n' + row(6))
    assert [fault.line for fault in got.faults] == [2]
    assert accepted(got) == ["5", "6"]
