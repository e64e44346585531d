"""The page about changing a loop shows what `check --against` prints."""

from __future__ import annotations

import re
from pathlib import Path

from headrace import compiler
from headrace.cli.against import as_text
from headrace.definition import Field, FieldType, LoopDefinition
from headrace.engine.events.schema import conflicts
from headrace.history.changes import Facts, KeptEvents, compare
from tests.contract.repository import ROOT

PAGE = (ROOT / "docs" / "change-a-loop.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SHOWN = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
DAY = 86_400_000_000


def load(folder: Path, text: str) -> LoopDefinition:
    file = folder / "shop.py"
    file.write_text(text)
    return compiler.load(file).definition


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    old, new = (load(tmp_path, block) for block in BLOCKS[:2])
    events = {"asked": KeptEvents(0, 12 * DAY, complete=False), "sold": KeptEvents(0, 12 * DAY, complete=False)}
    changes = compare(old, new, Facts(kept=events, examples={"delay": 50_000}))
    assert as_text(".headrace/shop", new.name, changes, []) == SHOWN[0].rstrip("\n")


def test_the_page_shows_what_answers_meanwhile(tmp_path: Path) -> None:
    old = load(tmp_path, BLOCKS[0])
    new = load(tmp_path, BLOCKS[0].replace("LogisticRegression())", "LogisticRegression(l2=1.0))"))
    printed = as_text("", new.name, compare(old, new, Facts(examples={"delay": 50_000})), []).splitlines()
    shown = [line.split() for line in SHOWN[1].splitlines()]
    assert [line.split() for line in printed if "delay" in line or "meanwhile" in line] == shown


def test_the_page_shows_a_conflict_of_schemas(tmp_path: Path) -> None:
    stream = load(tmp_path, BLOCKS[1].replace("size: int | None", "size: int")).stream("asked")
    before = [field for field in stream.fields if field != Field("size", FieldType.INT)]
    assert [str(conflict) for conflict in conflicts(stream, before)] == SHOWN[2].splitlines()


def test_the_renames_of_the_page_are_taken(tmp_path: Path) -> None:
    streams = BLOCKS[0].partition("sales = ")[0]
    loop = load(tmp_path, streams + BLOCKS[2])
    assert [view.name for view in loop.views] == ["sales"]
    assert [label.title for label in loop.labels] == ["tardy"]
