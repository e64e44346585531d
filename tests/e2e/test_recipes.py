"""The recipes for labels run as written, and the model learns what their pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import embedded
from tests.contract.pages import blocks, commands, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until

PAGES = sorted((ROOT / "docs" / "recipes").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_recipe_learns_as_many_examples_as_it_says(page: Path, tmp_path: Path) -> None:
    [loop] = python_blocks(page)
    text = page.read_text()
    (name,) = re.findall(r"`(\w+\.py)`:\n", text)
    (tmp_path / name).write_text(loop.text)
    files = [block.text for block in blocks(page) if block.language == "csv"]
    for file, content in zip(re.findall(r"^`(\w+\.csv)`", text, re.MULTILINE), files, strict=True):
        (tmp_path / file).write_text(content)
    *sent, models = [words for words in commands(page, "headrace") if "now" not in words and words[0] != "up"]
    (examples,) = map(int, re.findall(r"has learned (\d+) examples", text))
    with embedded.run(tmp_path / name, data=tmp_path / ".headrace" / "recipe") as running:
        for words in sent:
            headrace(tmp_path, words)
        (model,) = running.definition.models
        until(
            lambda: [status.versions for status in running.status() if status.service == "scorer"],
            lambda found: found == [{model.name: examples}],
            60,
        )
        assert f"{examples} examples" in headrace(tmp_path, models)


def headrace(folder: Path, words: list[str]) -> str:
    command = [sys.executable, "-m", "headrace.cli", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
