"""The whole system against a bare River loop: same rows, same accuracy, same model, to the last bit.

Events go in over gRPC, through Pulsar, are assembled, joined with labels that come later, and learned.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import embedded
from tests.e2e.datasets import load, loop_file
from tests.e2e.learning import bare, learned, send, slices, stored_state


@pytest.mark.parametrize("name", ["Phishing", "Bananas", "ImageSegments", "Elec2"])
def test_the_system_learns_what_a_bare_loop_learns(name: str, tmp_path: Path) -> None:
    data = load(name)
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data))
    with embedded.run(file, data=tmp_path / "data") as running:
        assert send(running.addresses["ingest"], list(slices(data)), final=True) == 0
        accuracies = learned(running, data)
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state
