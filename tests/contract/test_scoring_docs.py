"""The page on asking for scores is accurate: its code runs, its tables are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import embedded
from headrace.runtime.settings import ServiceSettings
from headrace_scorer.settings import ScorerSettings
from tests.brokers import on_the_small
from tests.deadline import scaled
from tests.integration.scoring import Running, running
from tests.unit.scorer.support import NOW, WORTH, version

PAGE = (Path(__file__).parents[2] / "docs" / "ask-for-scores.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("docs")
    with (
        embedded.broker(directory) as broker,
        embedded.store(directory) as store,
        running(directory, on_the_small(broker), store) as service,
    ):
        service.publish(version(WORTH))
        yield service


def run(scorer: Running, code: str) -> str:
    """Run a page's code against a running model instead of the page's own."""
    event = f'{{"card": "c1", "shop": "s1", "amount": 3.5, "at": {NOW}}}'
    code = re.sub(r"^EVENT = \{.*?\}$", f"EVENT = {event}", code, flags=re.MULTILINE | re.DOTALL)
    code = code.replace("localhost:7070", scorer.address).replace('"late_arrival"', '"worth"')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=scaled(60), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_of_the_page_runs(scorer: Running) -> None:
    *snippets, triton = BLOCKS
    lines = run(scorer, "\n".join(snippets)).splitlines()
    assert "from 60 examples" in lines[0]
    assert lines[1].startswith("card_mean ")
    assert lines[1].endswith(" s old")
    assert any(line.startswith("1 field 'card' is missing, expected a string; field ") for line in lines)
    assert "fraud binary no version yet" in lines
    assert "worth regression 60" in lines
    assert lines[-2:] == ["{'accuracy': 0.75}", "100 answers"]
    assert run(scorer, triton).startswith("[")


def test_every_setting_is_in_its_table() -> None:
    names = ScorerSettings.model_fields.keys() - ServiceSettings.model_fields.keys()
    for name in names:
        default = ScorerSettings.model_fields[name].default
        assert f"| `HEADRACE_{name.upper()}` | `{default}` |" in PAGE
    assert PAGE.count("| `HEADRACE_") == len(names)


def test_every_counter_is_in_its_table(scorer: Running) -> None:
    assert scorer.status is not None
    for name in scorer.status.counters:
        assert f"`{name}`" in PAGE.partition("| counter | counts |")[2]
